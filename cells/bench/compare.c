/*
 * compare WORK COUNT: does one kind of work on two CPUs and says how long it took, for
 * `cargo xtask bench compare`: the same program in plain Linux, in a cell and in a
 * virtual machine. FIRST and SECOND in the environment are the CPUs, 0 and 1 without
 * them.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <linux/futex.h>
#include <time.h>
#include <unistd.h>

#define PAGES 256
#define PAGE 4096

static int first, second = 1;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

/* Both CPUs multiply: COUNT thousands of steps on each. */
static void *multiply(void *count)
{
	uint64_t state = 1;
	volatile uint64_t kept;

	for (long n = *(long *)count * 1000; n; n--)
		state = state * 6364136223846793005u + (state >> 33);
	kept = state;
	(void)kept;
	return NULL;
}

static void *multiply_second(void *count)
{
	on_cpu(second);
	return multiply(count);
}

static void compute(long count)
{
	pthread_t other;

	if (pthread_create(&other, NULL, multiply_second, &count))
		die("pthread_create");
	multiply(&count);
	pthread_join(other, NULL);
}

/* COUNT system calls that do next to nothing. */
static void null_calls(long count)
{
	while (count--)
		syscall(SYS_getppid);
}

/* COUNT times a byte to a process on the same CPU and back. */
static void context(long count)
{
	int there[2], back[2];
	char byte = 0;
	pid_t child;

	if (pipe(there) || pipe(back))
		die("pipe");
	child = fork();
	if (child < 0)
		die("fork");
	if (!child) {
		close(there[1]);
		while (read(there[0], &byte, 1) == 1)
			if (write(back[1], &byte, 1) != 1)
				_exit(1);
		_exit(0);
	}
	while (count--)
		if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
			die("pipe");
	close(there[1]);
	waitpid(child, NULL, 0);
}

static atomic_int turn;

/* Sleeps until it is our turn, and gives it to the other. */
static void hand_over(int ours, long count)
{
	while (count--) {
		int now;

		while ((now = atomic_load(&turn)) != ours)
			syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, now, NULL, NULL, 0);
		atomic_store(&turn, !ours);
		syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	}
}

static void *hand_back(void *count)
{
	on_cpu(second);
	hand_over(1, *(long *)count);
	return NULL;
}

/* COUNT times to the other CPU and back: each wakes the other by an interrupt. */
static void futex(long count)
{
	pthread_t other;

	if (pthread_create(&other, NULL, hand_back, &count))
		die("pthread_create");
	hand_over(0, count);
	pthread_join(other, NULL);
}

/* COUNT processes, one after the other. */
static void forks(long count)
{
	while (count--) {
		pid_t child = fork();

		if (child < 0)
			die("fork");
		if (!child)
			_exit(0);
		waitpid(child, NULL, 0);
	}
}

/* COUNT times a mapping of which each page is written once. */
static void faults(long count)
{
	while (count--) {
		char *pages = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (pages == MAP_FAILED)
			die("mmap");
		for (int page = 0; page < PAGES; page++)
			*(volatile char *)(pages + page * PAGE) = 1;
		munmap(pages, PAGES * PAGE);
	}
}

/* COUNT sleeps of a millisecond. */
static void timers(long count)
{
	struct timespec millisecond = { .tv_nsec = 1000000 };

	while (count--)
		nanosleep(&millisecond, NULL);
}

/* COUNT seconds of nothing. */
static void idle(long count)
{
	sleep(count);
}

static const struct {
	const char *name;
	void (*run)(long count);
} works[] = {
	{ "compute", compute }, { "null-calls", null_calls }, { "context", context },
	{ "futex", futex },	{ "forks", forks },	      { "faults", faults },
	{ "timers", timers },	{ "idle", idle },
};

int main(int argc, char **argv)
{
	const char *cpu;

	if (argc != 3)
		return fprintf(stderr, "usage: compare WORK COUNT\n"), 2;
	if ((cpu = getenv("FIRST")))
		first = atoi(cpu);
	if ((cpu = getenv("SECOND")))
		second = atoi(cpu);
	on_cpu(first);
	for (size_t i = 0; i < sizeof(works) / sizeof(*works); i++) {
		double began = seconds();

		if (strcmp(works[i].name, argv[1]))
			continue;
		works[i].run(atol(argv[2]));
		printf("compare: %s us=%.0f\n", argv[1], (seconds() - began) * 1e6);
		return 0;
	}
	return fprintf(stderr, "compare: no work is named %s\n", argv[1]), 2;
}
