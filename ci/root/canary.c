/*
 * canary hold PAGES FILE: keeps PAGES pages of memory with a pattern that no
 * other page has, writes their physical addresses to FILE, one a line, and
 * waits. On SIGTERM it looks at them again, tells how many are as they were, and
 * ends with success if all are.
 *
 * Root and cells run it, so that an attack can aim at what it must not reach.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096UL
#define WORDS (PAGE / sizeof(uint64_t))

/* attack-pci looks for it in what it reads. */
#define PATTERN 0x63616e6172792121ULL

static uint64_t word(unsigned long page, unsigned long index)
{
	return PATTERN ^ (uint64_t)page << 48 ^ (uint64_t)index << 32;
}

static uint64_t physical(int map, const void *page)
{
	uint64_t entry;

	if (pread(map, &entry, sizeof(entry), (off_t)((uintptr_t)page / PAGE * sizeof(entry))) !=
	    sizeof(entry))
		return 0;
	return (entry & ((1ULL << 55) - 1)) * PAGE;
}

static int tell(const char *file, volatile uint64_t *memory, unsigned long pages)
{
	int map = open("/proc/self/pagemap", O_RDONLY);
	FILE *out = fopen(file, "w");

	if (map < 0 || !out)
		return -1;
	for (unsigned long page = 0; page < pages; page++) {
		uint64_t address = physical(map, (const void *)(memory + page * WORDS));

		if (!address)
			return -1;
		fprintf(out, "%#llx\n", (unsigned long long)address);
	}
	close(map);
	return fclose(out);
}

int main(int argc, char **argv)
{
	unsigned long pages = argc == 4 ? strtoul(argv[2], NULL, 0) : 0, good = 0;
	volatile uint64_t *memory;
	sigset_t signals;
	int signal;

	if (!pages || strcmp(argv[1], "hold")) {
		fprintf(stderr, "usage: canary hold PAGES FILE\n");
		return 2;
	}
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_LOCKED, -1, 0);
	if (memory == MAP_FAILED) {
		perror("canary: memory");
		return 2;
	}
	for (unsigned long i = 0; i < pages * WORDS; i++)
		memory[i] = word(i / WORDS, i % WORDS);
	if (tell(argv[3], memory, pages)) {
		perror("canary: addresses");
		return 2;
	}
	sigwait(&signals, &signal);
	for (unsigned long page = 0; page < pages; page++) {
		unsigned long same = 0;

		for (unsigned long i = 0; i < WORDS; i++)
			same += memory[page * WORDS + i] == word(page, i);
		good += same == WORDS;
	}
	printf("canary: %lu of %lu pages as before\n", good, pages);
	return good == pages ? 0 : 1;
}
