/*
 * exits KIND COUNT: makes exits of one kind, for `cargo xtask bench exits`.
 * /dev/mem needs iomem=relaxed, /dev/cpu the module msr.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Line status of the console; the address port of configuration space. */
#define CONSOLE_STATUS 0x3fd
#define CONFIG_ADDRESS 0xcf8
/* The I/O APIC, and an MSR that is intercepted: the APIC's base. */
#define IOAPIC 0xfec00000
#define APIC_BASE 0x1b
/* Where extended configuration space begins. */
#define EXTENDED 0x100

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void cpuid(long count)
{
	unsigned int a, b, c, d;

	while (count--)
		__cpuid_count(0, 0, a, b, c, d);
}

static void on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
}

static void *spin(void *unused)
{
	on_cpu(1);
	for (;;)
		__asm__ volatile("" ::: "memory");
	return unused;
}

/* Each barrier interrupts the other CPU, where a thread of ours runs. */
static void icr(long count)
{
	pthread_t other;

	on_cpu(0);
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0))
		die("membarrier");
	if (pthread_create(&other, NULL, spin, NULL))
		die("pthread_create");
	usleep(100000);
	while (count--)
		syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0);
}

static void port(int number, long count)
{
	if (iopl(3))
		die("iopl");
	while (count--)
		inb(number);
}

static void msr(long count)
{
	int file = open("/dev/cpu/0/msr", O_RDONLY);
	uint64_t value;

	if (file < 0)
		die("/dev/cpu/0/msr");
	on_cpu(0);
	while (count--)
		if (pread(file, &value, sizeof(value), APIC_BASE) != sizeof(value))
			die("pread");
}

static void mmio(long count)
{
	int file = open("/dev/mem", O_RDONLY);
	volatile uint32_t *page;

	if (file < 0)
		die("/dev/mem");
	page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, IOAPIC);
	if (page == MAP_FAILED)
		die("mmap");
	while (count--)
		(void)page[4];
}

/*
 * Reads beyond the 256 bytes that Linux asks for by ports, of the first function whose
 * configuration space is that long.
 */
static void ecam(long count)
{
	glob_t found;
	uint32_t value;
	int file = -1;

	if (glob("/sys/bus/pci/devices/*/config", 0, NULL, &found))
		die("/sys/bus/pci/devices");
	for (size_t i = 0; i < found.gl_pathc && file < 0; i++) {
		file = open(found.gl_pathv[i], O_RDONLY);
		if (file >= 0 && pread(file, &value, sizeof(value), EXTENDED) != sizeof(value)) {
			close(file);
			file = -1;
		}
	}
	if (file < 0)
		die("extended configuration space");
	while (count--)
		if (pread(file, &value, sizeof(value), EXTENDED) != sizeof(value))
			die("pread");
}

/* Work without exits. */
static void compute(long count)
{
	uint64_t state = 1;

	while (count--)
		state = state * 6364136223846793005u + (state >> 33);
	printf("%lu\n", (unsigned long)state);
}

int main(int argc, char **argv)
{
	long count = argc == 3 ? atol(argv[2]) : 0;
	const char *kind = argc == 3 ? argv[1] : "";

	if (!strcmp(kind, "cpuid"))
		cpuid(count);
	else if (!strcmp(kind, "icr"))
		icr(count);
	else if (!strcmp(kind, "console"))
		port(CONSOLE_STATUS, count);
	else if (!strcmp(kind, "config"))
		port(CONFIG_ADDRESS, count);
	else if (!strcmp(kind, "msr"))
		msr(count);
	else if (!strcmp(kind, "ioapic"))
		mmio(count);
	else if (!strcmp(kind, "ecam"))
		ecam(count);
	else if (!strcmp(kind, "compute"))
		compute(count);
	else
		return fprintf(stderr, "usage: exits KIND COUNT\n"), 2;
	return 0;
}
