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
#include <linux/mman.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake.h"

#define MIB2 0x200000UL

static int failed, device;

static void check(const char *what, long long got, long long want)
{
	failed += got != want;
	if (got == want)
		printf("ok   %s\n", what);
	else
		printf("FAIL %s: got %lld, want %lld\n", what, got, want);
}

/* What a request came to: its result, or -errno. */
static long ask(unsigned long request, void *arg)
{
	long result = ioctl(device, request, arg);

	return result < 0 ? -errno : result;
}

static long free_huge_pages(void)
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

static char *huge_pages(size_t size, int flags)
{
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_ANONYMOUS | MAP_HUGETLB | flags, -1, 0);

	if (memory == MAP_FAILED) {
		perror("no huge pages: write 8 to /proc/sys/vm/nr_hugepages");
		exit(100);
	}
	return memory;
}

static struct cv_info info(void)
{
	struct cv_info info = {};

	check("INFO", ask(CV_IOC_INFO, &info), 0);
	return info;
}

static long pin(void *address, __u64 size, __u64 page_size, __u64 *addresses, __u32 flags,
		__u32 *id)
{
	struct cv_pin pin = {
		.address = (__u64)address, .size = size, .page_size = page_size,
		.addresses = (__u64)addresses, .flags = flags,
	};
	long result = ask(CV_IOC_PIN, &pin);

	if (id)
		*id = pin.id;
	return result;
}

static long view(__u64 phys, size_t size, int flags, char **view)
{
	*view = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, device, phys);
	return *view == MAP_FAILED ? -errno : 0;
}

static void test_pin(void)
{
	long before = free_huge_pages();
	char *memory = huge_pages(2 * MIB2, MAP_SHARED), *seen;
	__u64 at[2] = {};
	__u32 id = 0;

	check("PIN of two huge pages", pin(memory, 2 * MIB2, MIB2, at, 0, &id), 0);
	check("its id is not 0", id != 0, 1);
	check("INFO counts it", info().pins, 1);
	check("addresses are aligned and differ",
	      !((at[0] | at[1]) % MIB2) && at[0] && at[1] && at[0] != at[1], 1);
	strcpy(memory + MIB2, "second page");
	check("mmap of the second page", view(at[1], MIB2, MAP_SHARED, &seen), 0);
	check("it is the same memory", strcmp(seen, "second page"), 0);
	check("UNPIN while mapped", ask(CV_IOC_UNPIN, (void *)(long)id), 0);
	check("UNPIN twice", ask(CV_IOC_UNPIN, (void *)(long)id), -ENOENT);
	munmap(memory, 2 * MIB2);
	check("mapped memory stays", strcmp(seen, "second page"), 0);
	check("and is not free", before - free_huge_pages(), 2);
	munmap(seen + MIB2 / 2, MIB2 / 2);
	check("half a view keeps it", before - free_huge_pages(), 2);
	munmap(seen, MIB2 / 2);
	check("it is free after the last view", before - free_huge_pages(), 0);
}

static void test_pin_refusals(void)
{
	char *memory = huge_pages(2 * MIB2, MAP_PRIVATE), *seen;
	char *small = mmap(NULL, 4 * MIB2, PROT_READ | PROT_WRITE,
			   MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
	char *aligned = (char *)(((unsigned long)small + MIB2 - 1) & -MIB2);
	__u64 at[2] = {};
	__u32 id;

	check("PIN of 4 KiB pages", pin(aligned, MIB2, MIB2, at, 0, NULL), -EINVAL);
	madvise(aligned, MIB2, MADV_HUGEPAGE);
	memset(aligned, 1, MIB2);
	check("PIN of a transparent huge page", pin(aligned, MIB2, MIB2, at, 0, NULL), -EINVAL);
	check("PIN at an odd address", pin(memory + 4096, MIB2, MIB2, at, 0, NULL), -EINVAL);
	check("PIN of nothing", pin(memory, 0, MIB2, at, 0, NULL), -EINVAL);
	check("PIN of part of a page", pin(memory, MIB2 / 2, MIB2, at, 0, NULL), -EINVAL);
	check("PIN with 4 KiB as page size", pin(memory, MIB2, 4096, at, 0, NULL), -EINVAL);
	check("PIN beyond the mapping", pin(memory, 1UL << 40, MIB2, at, 0, NULL) < 0, 1);
	check("PIN that wraps", pin((void *)-MIB2, 2 * MIB2, MIB2, at, 0, NULL), -EINVAL);
	check("PIN of kernel memory", pin((void *)-MIB2, MIB2, MIB2, at, 0, NULL) < 0, 1);
	check("PIN with unknown flags", pin(memory, MIB2, MIB2, at, 2, NULL), -EINVAL);
	check("PIN with nowhere to answer", pin(memory, MIB2, MIB2, NULL, 0, NULL), -EFAULT);
	check("nothing stays pinned", info().pins, 0);
	check("UNPIN of 0", ask(CV_IOC_UNPIN, NULL), -ENOENT);
	check("UNPIN of nothing", ask(CV_IOC_UNPIN, (void *)77), -ENOENT);
	check("mmap of foreign memory", view(0x1000000, 4096, MAP_SHARED, &seen), -EPERM);
	check("PIN", pin(memory, MIB2, MIB2, at, 0, &id), 0);
	check("private mmap", view(at[0], MIB2, MAP_PRIVATE, &seen), -EINVAL);
	check("mmap beyond the pin", view(at[0] + 4096, MIB2, MAP_SHARED, &seen), -EPERM);
	check("mmap inside the pin", view(at[0] + 4096, 4096, MAP_SHARED, &seen), 0);
	munmap(seen, 4096);
	ask(CV_IOC_UNPIN, (void *)(long)id);
	munmap(memory, 2 * MIB2);
	munmap(small, 4 * MIB2);
}

static void test_reserved(void)
{
	const char *text = getenv("CV_RESERVED_AT");
	unsigned long start = text ? strtoul(text, NULL, 0) : 0;
	char *seen;
	__u32 id;

	check("PIN_RESERVED of RAM", pin((void *)0x1000000, MIB2, MIB2, NULL, CV_PIN_RESERVED, NULL),
	      -EPERM);
	check("PIN_RESERVED of nothing there", pin((void *)(1UL << 45), MIB2, MIB2, NULL,
						   CV_PIN_RESERVED, NULL), -EPERM);
	if (!text)
		return;
	check("PIN_RESERVED", pin((void *)start, 2 * MIB2, MIB2, NULL, CV_PIN_RESERVED, &id), 0);
	check("the same again", pin((void *)start, MIB2, MIB2, NULL, CV_PIN_RESERVED, NULL), -EBUSY);
	check("mmap across its pages", view(start + 4096, 2 * MIB2 - 4096, MAP_SHARED, &seen), 0);
	memset(seen, 0x5a, 2 * MIB2 - 4096);
	check("UNPIN", ask(CV_IOC_UNPIN, (void *)(long)id), 0);
	check("it stays claimed while mapped", pin((void *)start, MIB2, MIB2, NULL,
						   CV_PIN_RESERVED, NULL), -EBUSY);
	munmap(seen, 2 * MIB2 - 4096);
	check("and is free then", pin((void *)start, MIB2, MIB2, NULL, CV_PIN_RESERVED, &id), 0);
	check("UNPIN", ask(CV_IOC_UNPIN, (void *)(long)id), 0);
}

static void test_gigantic(void)
{
	size_t size = 1UL << 30;
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_ANONYMOUS | MAP_SHARED | MAP_HUGETLB | 30 << MAP_HUGE_SHIFT, -1, 0);
	static __u64 at[512];
	__u32 small, large;
	char *seen;

	if (memory == MAP_FAILED) {
		printf("skip pages of 1 GiB: boot with hugepagesz=1G hugepages=1\n");
		return;
	}
	check("PIN of 1 GiB", pin(memory, size, size, at, 0, &large), 0);
	check("its address is aligned", at[0] % size, 0);
	check("PIN of it as pages of 2 MiB", pin(memory, size, MIB2, at, 0, &small), 0);
	check("they follow each other", at[511] - at[0], 511 * MIB2);
	check("UNPIN of the first", ask(CV_IOC_UNPIN, (void *)(long)large), 0);
	check("mmap across pages", view(at[3] + 4096, MIB2, MAP_SHARED, &seen), 0);
	seen[MIB2 - 4096] = 'x';
	check("it is the same memory", memory[4 * MIB2], 'x');
	munmap(seen, MIB2);
	check("UNPIN of the second", ask(CV_IOC_UNPIN, (void *)(long)small), 0);
	munmap(memory, size);
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
		_exit(other >= 0 || errno != EPERM);
	}
	wait(&other);
	check("open without CAP_SYS_ADMIN", other, 0);
}

/* Two chunks with an image in them that has this code. */
static char *image(const char *code, const char *end)
{
	char *memory = huge_pages(2 * MIB2, MAP_SHARED);
	struct cv_image_header header = {
		.magic = CV_MAGIC, .abi_version = CV_ABI_VERSION,
		.header_size = sizeof(header), .entry = CV_BASE + FAKE_CODE,
		.file_size = FAKE_BOOT_INFO, .memory_size = FAKE_MEMORY,
		.boot_info = FAKE_BOOT_INFO, .bridge_tables = FAKE_BRIDGE,
	};

	memcpy(memory, &header, sizeof(header));
	memcpy(memory + FAKE_CODE, code, end - code);
	memcpy(memory + FAKE_MARK_AT, &(__u32){ FAKE_MARK }, sizeof(__u32));
	return memory;
}

static long enable(char *memory, struct cv_enable *result)
{
	*result = (struct cv_enable){
		.address = (__u64)memory, .size = 2 * MIB2,
		.plan_offset = FAKE_MEMORY, .plan_len = 64,
	};
	return ask(CV_IOC_ENABLE, result);
}

/* ENABLE with the 8 bytes at @offset of the header changed. */
static void broken_header(const char *what, size_t offset, __u64 value, __u32 status, __u32 detail)
{
	char *memory = image(fake_checks, fake_checks_end);
	struct cv_enable result;

	memcpy(memory + offset, &value, sizeof(value));
	check(what, enable(memory, &result), 0);
	check("  its status", result.status, status);
	check("  its detail", result.detail, detail);
	munmap(memory, 2 * MIB2);
}

#define FIELD(name) offsetof(struct cv_image_header, name)

static void test_bad_images(void)
{
	struct cv_enable request = { .address = 4096, .size = MIB2, .plan_offset = MIB2 };
	char *memory;

	broken_header("image without magic", 0, 0, CV_ENTER_BAD_IMAGE, 0);
	broken_header("image of another ABI", 8, 56ULL << 32 | 9, CV_ENTER_ABI_MISMATCH, 9);
	broken_header("image with a longer header", 8, 64ULL << 32 | 1, CV_ENTER_BAD_IMAGE,
		      FIELD(header_size));
	broken_header("image larger than its memory", FIELD(memory_size), 1ULL << 40,
		      CV_ENTER_BAD_IMAGE, FIELD(memory_size));
	broken_header("image with an odd size", FIELD(memory_size), FAKE_MEMORY - 8,
		      CV_ENTER_BAD_IMAGE, FIELD(memory_size));
	broken_header("file larger than the image", FIELD(file_size), FAKE_MEMORY + 1,
		      CV_ENTER_BAD_IMAGE, FIELD(file_size));
	broken_header("entry outside", FIELD(entry), CV_BASE + FAKE_MEMORY, CV_ENTER_BAD_IMAGE,
		      FIELD(entry));
	broken_header("entry in Linux", FIELD(entry), -4096ULL, CV_ENTER_BAD_IMAGE, FIELD(entry));
	broken_header("boot info outside", FIELD(boot_info), FAKE_MEMORY - 4096,
		      CV_ENTER_BAD_IMAGE, FIELD(boot_info));
	broken_header("boot info far outside", FIELD(boot_info), -8ULL, CV_ENTER_BAD_IMAGE,
		      FIELD(boot_info));
	broken_header("bridge tables at an odd page", FIELD(bridge_tables), 0x3000,
		      CV_ENTER_BAD_IMAGE, FIELD(bridge_tables));
	broken_header("bridge tables outside", FIELD(bridge_tables), FAKE_MEMORY - 0x2000,
		      CV_ENTER_BAD_IMAGE, FIELD(bridge_tables));

	check("ENABLE of an odd address", ask(CV_IOC_ENABLE, &request), 0);
	check("  its status", request.status, CV_ENTER_DRIVER);
	check("  its detail", request.detail, EINVAL);
	memory = image(fake_checks, fake_checks_end);
	request = (struct cv_enable){ .address = (__u64)memory, .size = 2 * MIB2,
				      .plan_offset = MIB2, .plan_len = 4 * MIB2 };
	check("plan beyond the memory", ask(CV_IOC_ENABLE, &request), -EINVAL);
	request.plan_offset = FAKE_MEMORY - 64;
	request.plan_len = 64;
	check("plan inside the image", ask(CV_IOC_ENABLE, &request), -EINVAL);
	munmap(memory, 2 * MIB2);
}

static int write_text(const char *path, const char *text)
{
	int file = open(path, O_WRONLY);
	int err = file < 0 || write(file, text, strlen(text)) < 0 ? -errno : 0;

	close(file);
	return err;
}

static void test_entries(void)
{
	const char *cpu1 = "/sys/devices/system/cpu/cpu1/online";
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct cv_enable result;
	char *memory;
	int round;

	memory = image(fake_checks, fake_checks_end);
	for (round = 1; round <= 20; round++) {
		if (enable(memory, &result) || result.status != CV_ENTER_INJECTED || result.detail)
			break;
	}
	check("20 entries that fail", round, 21);
	check("  the entry's status", result.status, CV_ENTER_INJECTED);
	check("  the entry found all as it must be", result.detail, 0);
	check("  every CPU was there each time", *(int *)(memory + FAKE_COUNTER), 20 * cpus);
	check("  no CPU is in", result.cpus, 0);
	check("  a pause was measured", result.pause_ns > 0, 1);
	check("  still off", info().enabled, 0);
	munmap(memory, 2 * MIB2);

	memory = image(fake_one_fails, fake_one_fails_end);
	check("one CPU fails", enable(memory, &result), 0);
	check("  the one that knows why is told", result.status, CV_ENTER_INJECTED);
	check("  its detail", result.detail, 7);
	check("a CPU goes offline", write_text(cpu1, "0"), 0);
	check("ENABLE without it", enable(memory, &result), 0);
	check("  its status", result.status, CV_ENTER_CPUS_MISSING);
	check("  how many there are", result.detail, cpus - 1);
	check("  which one is not", result.cpu, 1);
	check("it comes back", write_text(cpu1, "1"), 0);
	munmap(memory, 2 * MIB2);
}

/* The driver believes in a monitor that is not there. */
static void test_stuck(void)
{
	char *memory = image(fake_success, fake_success_end);
	struct cv_enable result;
	struct cv_call call = { .code = 1, .capacity = 16, .buffer = (__u64)&result };

	check("ENABLE with a fake success", enable(memory, &result), 0);
	check("  its status", result.status, CV_ENTER_OK);
	check("  all CPUs are in", result.cpus, sysconf(_SC_NPROCESSORS_ONLN));
	check("  on", info().enabled, 1);
	check("ENABLE again", enable(memory, &result), -EBUSY);
	check("CALL without a monitor", ask(CV_IOC_CALL, &call), -EIO);
	check("the monitor's memory is no pin", info().pins, 0);
	check("DISABLE without a monitor", ask(CV_IOC_DISABLE, &result), 0);
	check("  its status", result.status, CV_ENTER_DRIVER);
	check("  its detail", result.detail, ENXIO);
	check("  still on", info().enabled, 1);
	check("suspend is refused", write_text("/sys/power/state", "freeze") < 0, 1);
	check("a CPU goes offline", write_text("/sys/devices/system/cpu/cpu1/online", "0"), 0);
	check("DISABLE without it", ask(CV_IOC_DISABLE, &result), 0);
	check("  its status", result.status, CV_ENTER_CPUS_OFFLINE);
	check("  how many are missing", result.detail, 1);
	check("it comes back", write_text("/sys/devices/system/cpu/cpu1/online", "1"), 0);
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
		test_pin();
		test_pin_refusals();
		test_reserved();
		test_gigantic();
		test_bad_images();
		test_entries();
		check("huge pages free as before", free_huge_pages(), before);
	}
	printf("driver test: %d failed\n", failed);
	return failed;
}
