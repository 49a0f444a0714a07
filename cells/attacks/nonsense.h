/* What attacks share that write nonsense: where it comes from, and how they give up. */
#ifndef NONSENSE_H
#define NONSENSE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t seed = 88172645463325252ULL;

static uint64_t any(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void give_up(const char *what)
{
	perror(what);
	exit(2);
}

#endif
