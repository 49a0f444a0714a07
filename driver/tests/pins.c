// SPDX-License-Identifier: GPL-2.0-only
/* Pins, and views of them. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/mman.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

static long pin(void *address, __u64 size, __u64 page_size, __u64 *addresses, __u32 flags,
		__u64 *id)
{
	static __u64 last = 1ULL << 40;
	struct cv_pin pin = {
		.address = (__u64)address, .size = size, .page_size = page_size,
		.addresses = (__u64)addresses, .flags = flags, .id = ++last,
	};

	if (id)
		*id = pin.id;
	return ask(CV_IOC_PIN, &pin);
}

static long unpin(__u64 id)
{
	return ask(CV_IOC_UNPIN, (void *)id);
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
	__u64 at[2] = {}, id;

	check("PIN of two huge pages", pin(memory, 2 * MIB2, MIB2, at, 0, &id), 0);
	check("INFO counts it", info().pins, 1);
	check("addresses are aligned and differ",
	      !((at[0] | at[1]) % MIB2) && at[0] && at[1] && at[0] != at[1], 1);
	strcpy(memory + MIB2, "second page");
	check("mmap of the second page", view(at[1], MIB2, MAP_SHARED, &seen), 0);
	check("it is the same memory", strcmp(seen, "second page"), 0);
	check("UNPIN by another number", unpin(id & 0xff), -ENOENT);
	check("UNPIN while mapped", unpin(id), 0);
	check("UNPIN twice", unpin(id), -ENOENT);
	munmap(memory, 2 * MIB2);
	check("mapped memory stays", strcmp(seen, "second page"), 0);
	check("and is not free", before - free_huge_pages(), 2);
	munmap(seen + MIB2 / 2, MIB2 / 2);
	check("half a view keeps it", before - free_huge_pages(), 2);
	munmap(seen, MIB2 / 2);
	check("it is free after the last view", before - free_huge_pages(), 0);
}

/* Linux gives out pages in any order; memory that adjoins is mapped in one go. */
static void test_neighbours(void)
{
	char *memory = huge_pages(6 * MIB2, MAP_SHARED), *seen;
	__u64 at[6] = {};
	int i, j, first = -1, second = -1;
	__u64 id;

	check("PIN of six huge pages", pin(memory, 6 * MIB2, MIB2, at, 0, &id), 0);
	for (i = 0; i < 6; i++) {
		for (j = 0; j < 6; j++) {
			if (at[j] != at[i] + MIB2)
				continue;
			first = i;
			second = j;
		}
	}
	if (first < 0) {
		printf("skip neighbours: none of six pages adjoin\n");
	} else {
		printf("     pages %d and %d adjoin\n", first, second);
		check("mmap of two neighbours", view(at[first], 2 * MIB2, MAP_SHARED, &seen), 0);
		memory[second * MIB2] = 'n';
		check("they are the same memory", seen[MIB2], 'n');
		munmap(seen, 2 * MIB2);
	}
	check("UNPIN", unpin(id), 0);
	munmap(memory, 6 * MIB2);
}

static void test_pin_refusals(void)
{
	char *memory = huge_pages(2 * MIB2, MAP_PRIVATE), *seen;
	char *small = mmap(NULL, 4 * MIB2, PROT_READ | PROT_WRITE,
			   MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
	char *aligned = (char *)(((unsigned long)small + MIB2 - 1) & -MIB2);
	__u64 at[2] = {}, id;
	struct cv_pin again = { .address = (__u64)memory, .size = MIB2, .page_size = MIB2,
				.addresses = (__u64)at };

	check("PIN of 4 KiB pages", pin(aligned, MIB2, MIB2, at, 0, NULL), -EINVAL);
	madvise(aligned, MIB2, MADV_HUGEPAGE);
	memset(aligned, 1, MIB2);
	check("PIN of a transparent huge page", pin(aligned, MIB2, MIB2, at, 0, NULL), -EINVAL);
	check("PIN at an odd address", pin(memory + 4096, MIB2, MIB2, at, 0, NULL), -EINVAL);
	check("PIN of nothing", pin(memory, 0, MIB2, at, 0, NULL), -EINVAL);
	check("PIN of part of a page", pin(memory, MIB2 / 2, MIB2, at, 0, NULL), -EINVAL);
	check("PIN with 4 KiB as page size", pin(memory, MIB2, 4096, at, 0, NULL), -EINVAL);
	check("PIN beyond the mapping", pin(memory, 1UL << 40, MIB2, at, 0, NULL) < 0, 1);
	check("PIN of more than there is", pin(memory, 1UL << 62, MIB2, at, 0, NULL), -ENOMEM);
	check("PIN that wraps", pin((void *)-MIB2, 2 * MIB2, MIB2, at, 0, NULL), -EINVAL);
	check("PIN of kernel memory", pin((void *)-MIB2, MIB2, MIB2, at, 0, NULL) < 0, 1);
	check("PIN with unknown flags", pin(memory, MIB2, MIB2, at, 2, NULL), -EINVAL);
	check("PIN with nowhere to answer", pin(memory, MIB2, MIB2, NULL, 0, NULL), -EFAULT);
	check("nothing stays pinned", info().pins, 0);
	check("PIN without a number", ask(CV_IOC_PIN, &again), -EINVAL);
	check("UNPIN of 0", unpin(0), -ENOENT);
	check("UNPIN of nothing", unpin(77), -ENOENT);
	check("mmap of foreign memory", view(0x1000000, 4096, MAP_SHARED, &seen), -EPERM);
	check("PIN", pin(memory, MIB2, MIB2, at, 0, &id), 0);
	again.id = id;
	check("PIN with a number that is taken", ask(CV_IOC_PIN, &again), -EEXIST);
	check("the one who has it keeps it", info().pins, 1);
	check("private mmap", view(at[0], MIB2, MAP_PRIVATE, &seen), -EINVAL);
	check("mmap beyond the pin", view(at[0] + 4096, MIB2, MAP_SHARED, &seen), -EPERM);
	check("mmap inside the pin", view(at[0] + 4096, 4096, MAP_SHARED, &seen), 0);
	munmap(seen, 4096);
	unpin(id);
	munmap(memory, 2 * MIB2);
	munmap(small, 4 * MIB2);
}

static void test_reserved(void)
{
	const char *text = getenv("CV_RESERVED_AT");
	unsigned long start = text ? strtoul(text, NULL, 0) : 0;
	char *seen;
	__u64 id;

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
	check("UNPIN", unpin(id), 0);
	check("it stays claimed while mapped", pin((void *)start, MIB2, MIB2, NULL,
						   CV_PIN_RESERVED, NULL), -EBUSY);
	munmap(seen, 2 * MIB2 - 4096);
	check("and is free then", pin((void *)start, MIB2, MIB2, NULL, CV_PIN_RESERVED, &id), 0);
	check("UNPIN", unpin(id), 0);
}

static void test_gigantic(void)
{
	size_t size = 1UL << 30;
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_ANONYMOUS | MAP_SHARED | MAP_HUGETLB | 30 << MAP_HUGE_SHIFT, -1, 0);
	static __u64 at[512];
	__u64 small, large;
	char *seen;

	if (memory == MAP_FAILED) {
		printf("skip pages of 1 GiB: boot with hugepagesz=1G hugepages=1\n");
		return;
	}
	check("PIN of 1 GiB", pin(memory, size, size, at, 0, &large), 0);
	check("its address is aligned", at[0] % size, 0);
	check("PIN of it as pages of 2 MiB", pin(memory, size, MIB2, at, 0, &small), 0);
	check("they follow each other", at[511] - at[0], 511 * MIB2);
	check("UNPIN of the first", unpin(large), 0);
	check("mmap across pages", view(at[3] + 4096, MIB2, MAP_SHARED, &seen), 0);
	seen[MIB2 - 4096] = 'x';
	check("it is the same memory", memory[4 * MIB2], 'x');
	munmap(seen, MIB2);
	check("UNPIN of the second", unpin(small), 0);
	munmap(memory, size);
}

/*
 * A signal that does not kill (Ctrl-Z and its end, a timer) is no reason to fail.
 * The child pins and unpins for as long as its parent stops it and lets it go on.
 */
static void test_signals(void)
{
	char *memory = huge_pages(6 * MIB2, MAP_SHARED);
	long failed = 0, err;
	__u64 at[6], id;
	int status, i;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (!child) {
		for (i = 0; i < 20000; i++) {
			err = pin(memory, 6 * MIB2, MIB2, at, 0, &id);
			failed += err != 0;
			if (!err)
				unpin(id);
		}
		_exit(failed ? 1 : 0);
	}
	for (i = 0; !waitpid(child, &status, WNOHANG); i++) {
		kill(child, SIGSTOP);
		kill(child, SIGCONT);
	}
	printf("     it was stopped %d times\n", i);
	check("PIN while signals come", status, 0);
	munmap(memory, 6 * MIB2);
}

void test_pins(void)
{
	test_pin();
	test_neighbours();
	test_pin_refusals();
	test_signals();
	test_reserved();
	test_gigantic();
}
