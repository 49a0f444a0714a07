/*
 * classes: looks for the sharing of caches in a cell, and tries to change it. Needs the
 * module msr.
 */
#include <cpuid.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

/* IA32_PQR_ASSOC, the first masks of the L3 cache, a delay, the switch for code and data. */
static const unsigned int registers[] = { 0xc8f, 0xc90, 0xc91, 0xc92, 0xd51, 0xc81 };

int main(void)
{
	unsigned int eax, ebx, ecx, edx, reads = 0, writes = 0;
	const unsigned int count = sizeof(registers) / sizeof(*registers);
	int fd = open("/dev/cpu/0/msr", O_RDWR);

	if (fd < 0) {
		perror("/dev/cpu/0/msr");
		return 1;
	}
	for (unsigned int i = 0; i < count; i++) {
		uint64_t value = 1;

		reads += pread(fd, &value, sizeof(value), registers[i]) == sizeof(value);
		value = 1;
		writes += pwrite(fd, &value, sizeof(value), registers[i]) == sizeof(value);
	}
	__cpuid_count(7, 0, eax, ebx, ecx, edx);
	printf("classes: shown=%u", ebx >> 15 & 1);
	__cpuid_count(0x10, 0, eax, ebx, ecx, edx);
	printf(" kinds=%#x; of %u registers %u read, %u written\n", ebx, count, reads, writes);
	return 0;
}
