// SPDX-License-Identifier: GPL-2.0-only
/* Images that cannot be entered, and images that only pretend. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fake.h"
#include "test.h"

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
		.cpus = sysconf(_SC_NPROCESSORS_CONF),
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

void test_bad_images(void)
{
	struct cv_enable request = { .address = 4096, .size = MIB2, .plan_offset = MIB2 };
	char *memory;

	broken_header("image without magic", 0, 0, CV_ENTER_BAD_IMAGE, 0);
	broken_header("image of another ABI", 8, 56ULL << 32 | 9, CV_ENTER_ABI_MISMATCH, 9);
	broken_header("image with a longer header", 8, 64ULL << 32 | CV_ABI_VERSION,
		      CV_ENTER_BAD_IMAGE, FIELD(header_size));
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
				      .plan_offset = MIB2, .plan_len = 4 * MIB2,
				      .cpus = sysconf(_SC_NPROCESSORS_CONF) };
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

void test_entries(void)
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
	result = (struct cv_enable){
		.address = (__u64)memory, .size = 2 * MIB2,
		.plan_offset = FAKE_MEMORY, .plan_len = 64, .cpus = cpus - 1,
	};
	check("ENABLE that knows of it", ask(CV_IOC_ENABLE, &result), 0);
	check("  all that were there are asked", result.status, CV_ENTER_OTHER_CPU_FAILED);
	check("it comes back", write_text(cpu1, "1"), 0);
	munmap(memory, 2 * MIB2);
}

/* The driver believes in a monitor that is not there. */
void test_stuck(void)
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
