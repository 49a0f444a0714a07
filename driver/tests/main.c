// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exercises the driver without a monitor. Run as root with 8 free huge pages of
 * 2 MiB and the module loaded:
 *
 *   ioctl              all that leaves Linux as it was
 *   ioctl stuck        ends with the driver on and no monitor below: the machine
 *                      must be restarted afterwards
 *
 * CV_RESERVED_AT=0x... names 4 MiB that memmap= reserved. Prints a line per
 * check; the exit status is the number of checks that failed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

int device;
static int failed;

void check(const char *what, long long got, long long want)
{
	failed += got != want;
	if (got == want)
		printf("ok   %s\n", what);
	else
		printf("FAIL %s: got %lld, want %lld\n", what, got, want);
}

long ask(unsigned long request, void *arg)
{
	long result = ioctl(device, request, arg);

	return result < 0 ? -errno : result;
}

long free_huge_pages(void)
{
	char line[128];
	long pages = -1;
	FILE *file = fopen("/proc/meminfo", "r");

	while (file && fgets(line, sizeof(line), file))
		sscanf(line, "HugePages_Free: %ld", &pages);
	if (file)
		fclose(file);
	return pages;
}

char *huge_pages(size_t size, int flags)
{
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_ANONYMOUS | MAP_HUGETLB | flags, -1, 0);

	if (memory == MAP_FAILED) {
		perror("no huge pages: write 8 to /proc/sys/vm/nr_hugepages");
		exit(100);
	}
	return memory;
}

struct cv_info info(void)
{
	struct cv_info info = {};

	check("INFO", ask(CV_IOC_INFO, &info), 0);
	return info;
}

/* Whoever has the device open for reading: looks, and no more. */
static void test_looking(void)
{
	struct cv_enable change = {};
	struct cv_call call = { .code = CV_CODE_CELLS_END };
	struct cv_pin pin = { .id = 1 };
	char buffer[8];
	__u32 looking[] = { CV_CODES_LOOK };
	void *memory;

	device = open("/dev/cellvisor", O_RDONLY);
	check("open for reading", device >= 0, 1);
	check("a reader's INFO", info().abi_version, CV_ABI_VERSION);
	call.code = looking[0];
	check("a reader's look while off", ask(CV_IOC_CALL, &call), -ENODEV);
	call.code = CV_CODE_CELLS_END;
	check("a reader's CALL that changes", ask(CV_IOC_CALL, &call), -EPERM);
	call.code = CV_CODE_WATCH;
	check("a reader's CALL of Watch", ask(CV_IOC_CALL, &call), -EPERM);
	check("a reader's ENABLE", ask(CV_IOC_ENABLE, &change), -EPERM);
	check("a reader's DISABLE", ask(CV_IOC_DISABLE, &change), -EPERM);
	check("a reader's PIN", ask(CV_IOC_PIN, &pin), -EPERM);
	check("a reader's UNPIN", ask(CV_IOC_UNPIN, (void *)1), -EPERM);
	check("a reader's read", read(device, buffer, sizeof(buffer)), sizeof(buffer));
	memory = mmap(NULL, 4096, PROT_READ, MAP_SHARED, device, 0);
	check("a reader's mmap", memory == MAP_FAILED && errno == EPERM, 1);
}

static void test_off(void)
{
	struct cv_enable leave = {};
	struct cv_call call = { .code = 1 };
	int other;

	check("off at first", info().enabled, 0);
	check("ABI version", info().abi_version, CV_ABI_VERSION);
	check("the TSC's frequency is known", info().tsc_khz > 0, 1);
	check("unknown request", ask(_IO('V', 99), NULL), -ENOTTY);
	check("INFO with nowhere to answer", ask(CV_IOC_INFO, NULL), -EFAULT);
	check("DISABLE while off", ask(CV_IOC_DISABLE, &leave), -ENODEV);
	check("CALL while off", ask(CV_IOC_CALL, &call), -ENODEV);
	call.code = CV_CODE_LEAVE;
	check("CALL of Leave", ask(CV_IOC_CALL, &call), -EINVAL);
	call.code = 1;
	call.capacity = CV_CALL_BUFFER + 1;
	check("CALL with too much room", ask(CV_IOC_CALL, &call), -EINVAL);
	fflush(stdout);
	if (fork() == 0) {
		chmod("/dev/cellvisor", 0666);
		if (setuid(65534))
			_exit(1);
		other = open("/dev/cellvisor", O_RDWR);
		check("open without CAP_SYS_ADMIN", other < 0 && errno == EPERM, 1);
		test_looking();
		fflush(stdout);
		_exit(failed);
	}
	wait(&other);
	check("all without CAP_SYS_ADMIN", other, 0);
}

int main(int argc, char **argv)
{
	long before = free_huge_pages();

	device = open("/dev/cellvisor", O_RDWR);
	if (device < 0) {
		perror("/dev/cellvisor: load the module and run as root");
		return 100;
	}
	if (argc > 1 && !strcmp(argv[1], "stuck")) {
		test_stuck();
	} else {
		test_off();
		test_pins();
		test_bad_images();
		test_entries();
		check("huge pages free as before", free_huge_pages(), before);
	}
	printf("driver test: %d failed\n", failed);
	return failed;
}
