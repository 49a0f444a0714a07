/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What moves from cell to cell: a program that knows nothing of it.
 *
 *   counter MIB ROUNDS    computes over a heap of so many MiB, so many times
 *
 * Without a heap it counts instead, a hundred times a second. It tells its end in
 * /tmp/result-MIB, and how far it is in /tmp/progress-MIB: when it has begun, and whenever
 * it gets SIGUSR1.
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static volatile sig_atomic_t asked = 1;

static void ask(int signal)
{
	(void)signal;
	asked = 1;
}

static void tell(const char *what, long mib, long round, uint64_t sum)
{
	char name[64];
	FILE *file;

	snprintf(name, sizeof(name), "/tmp/%s-%ld", what, mib);
	file = fopen(name, "w");
	if (!file)
		_exit(1);
	fprintf(file, "counter: %s round=%ld sum=%016llx\n", what, round, (unsigned long long)sum);
	fclose(file);
}

int main(int argc, char **argv)
{
	long mib = argc == 3 ? atol(argv[1]) : 0, rounds = argc == 3 ? atol(argv[2]) : 0;
	size_t count = (size_t)mib << 17;
	uint64_t *heap = calloc(count + 1, sizeof(*heap)), sum = 1;

	if (!heap || rounds < 1)
		return 1;
	signal(SIGUSR1, ask);
	for (long round = 0; round < rounds; round++) {
		for (size_t i = 0; i < count; i++) {
			sum = (sum ^ heap[i]) * 6364136223846793005u + i;
			heap[i] = sum >> 7;
		}
		if (!count) {
			sum++;
			usleep(10000);
		}
		if (asked) {
			asked = 0;
			tell("progress", mib, round, sum);
		}
	}
	tell("result", mib, rounds, sum);
	return 0;
}
