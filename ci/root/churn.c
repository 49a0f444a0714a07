// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * churn LIMIT: keeps all CPUs of a root busy with what needs other CPUs: waking
 * threads, contended locks of the kernel, translations that others must forget.
 * Ends on SIGTERM, with what was done; or badly, when a thread has done nothing
 * for LIMIT seconds.
 */
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WORKERS 64

static atomic_ulong rounds[WORKERS];
static const char *names[WORKERS];
static atomic_int word, asleep;
static volatile sig_atomic_t stop;
static int pipes[4][2];
static int workers;

static void on_term(int signal)
{
	(void)signal;
	stop = 1;
}

static long futex(atomic_int *at, int op, int value, int mask)
{
	return syscall(SYS_futex, at, op, value, NULL, NULL, mask);
}

static void *burn(void *arg)
{
	atomic_ulong *mine = arg;
	volatile unsigned long value = 1;

	for (;;) {
		for (int i = 0; i < 100000; i++)
			value = value * 6364136223846793005ul + 1;
		atomic_fetch_add(mine, 1);
	}
	return NULL;
}

/* Sleeps where all contenders look for somebody to wake, and is never meant. */
static void *sleep_on(void *arg)
{
	(void)arg;
	for (;;)
		futex(&asleep, FUTEX_WAIT_BITSET_PRIVATE, 0, 1);
	return NULL;
}

/* All of these want one lock of the kernel, that of the word's hash. */
static void *contend(void *arg)
{
	atomic_ulong *mine = arg;

	for (;;) {
		futex(&asleep, FUTEX_WAKE_BITSET_PRIVATE, INT_MAX, 2);
		atomic_fetch_add(mine, 1);
	}
	return NULL;
}

/* Two of these wake each other in turn. */
static void *take_turns(void *arg)
{
	atomic_ulong *mine = arg;
	int side = (mine - rounds) & 1;

	for (;;) {
		int now = atomic_load(&word);

		if ((now & 1) != side) {
			futex(&word, FUTEX_WAIT_PRIVATE, now, 0);
			continue;
		}
		atomic_fetch_add(&word, 1);
		futex(&word, FUTEX_WAKE_PRIVATE, INT_MAX, 0);
		atomic_fetch_add(mine, 1);
	}
	return NULL;
}

/* A byte goes round through all of these. */
static void *pass_on(void *arg)
{
	atomic_ulong *mine = arg;
	int at = (int)(mine - rounds) % 4;
	char byte;

	for (;;) {
		if (read(pipes[at][0], &byte, 1) != 1 || write(pipes[(at + 1) % 4][1], &byte, 1) != 1)
			abort();
		atomic_fetch_add(mine, 1);
	}
	return NULL;
}

/* Every unmapping makes the CPUs of the other threads forget translations. */
static void *map(void *arg)
{
	atomic_ulong *mine = arg;
	size_t size = 16 * 4096;

	for (;;) {
		char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (at == MAP_FAILED)
			abort();
		memset(at, 1, size);
		munmap(at, size);
		atomic_fetch_add(mine, 1);
	}
	return NULL;
}

/* Memory that is used now and then is what a host swaps out. */
static void *walk(void *arg)
{
	atomic_ulong *mine = arg;
	size_t size = 64 << 20;
	char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		abort();
	for (;;) {
		for (size_t offset = 0; offset < size; offset += 4096) {
			at[offset]++;
			if (offset % (1 << 20) == 0)
				atomic_fetch_add(mine, 1);
		}
		usleep(500000);
	}
	return NULL;
}

static void start(const char *name, void *(*work)(void *))
{
	pthread_t thread;

	names[workers] = name;
	if (pthread_create(&thread, NULL, work, &rounds[workers]))
		abort();
	workers++;
}

static int look(unsigned long seen[], int still[], int limit)
{
	for (int i = 0; i < workers; i++) {
		unsigned long now = atomic_load(&rounds[i]);

		still[i] = now == seen[i] ? still[i] + 1 : 0;
		seen[i] = now;
		if (still[i] >= limit) {
			printf("churn: thread %d (%s) has stood still for %d s\n", i, names[i], limit);
			return 1;
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	int limit = argc > 1 ? atoi(argv[1]) : 0, still[WORKERS] = { 0 };
	unsigned long seen[WORKERS] = { 0 }, sum = 0;
	pthread_t sleeper;
	int cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);

	if (limit <= 0) {
		fprintf(stderr, "usage: churn LIMIT\n");
		return 2;
	}
	signal(SIGTERM, on_term);
	for (int i = 0; i < 4; i++)
		if (pipe(pipes[i]))
			abort();
	/* Turns and places in the round go by a thread's number: these come first. */
	for (int i = 0; i < 4; i++)
		start("pipe", pass_on);
	for (int i = 0; i < 2; i++)
		start("futex", take_turns);
	if (pthread_create(&sleeper, NULL, sleep_on, NULL))
		abort();
	for (int i = 0; i < 4; i++)
		start("lock", contend);
	for (int i = 0; i < 2; i++)
		start("map", map);
	start("walk", walk);
	for (int i = 0; i < cpus && i < 32; i++)
		start("burn", burn);
	if (write(pipes[0][1], "", 1) != 1)
		abort();
	while (!stop) {
		sleep(1);
		if (look(seen, still, limit))
			return 1;
	}
	for (int i = 0; i < workers; i++)
		sum += atomic_load(&rounds[i]);
	printf("churn: %d threads, %lu rounds, none stood still\n", workers, sum);
	return 0;
}
