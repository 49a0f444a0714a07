/*
 * A payload that only lives: it keeps a pattern in its RAM and looks after it,
 * counts, and tells of any interrupt, for nobody may send one.
 */
#include "../bare/bare.h"

#define START ((uint64_t *)0x400000)
#define END ((uint64_t *)0x1000000)

static uint64_t expected(const uint64_t *at)
{
	return (uint64_t)at * 0x9e3779b97f4a7c15ULL;
}

void payload(const char *cmdline)
{
	unsigned int beat = 0;

	(void)cmdline;
	for (uint64_t *at = START; at < END; at++)
		*at = expected(at);
	put("cell: ready\n");
	for (;;) {
		unsigned int changed = 0, strays = 0;

		sleep_ms(200);
		for (uint64_t *at = START; at < END; at++)
			changed += *at != expected(at);
		for (unsigned int vector = 0; vector < 256; vector++)
			if (vector != WAKE)
				strays += (unsigned int)cpus[0].interrupts[vector];
		put("beat %u changed=%u strays=%u\n", ++beat, changed, strays);
	}
}
