/*
 * attack-net SECONDS: drives the cell's first network adapter from a program, without
 * any sense: queues in its own memory, elsewhere in the cell's, and nowhere; descriptors,
 * rings and registers that say anything at all. What it may destroy is its own cell; what
 * must not be hurt is everybody else, who is looked after elsewhere.
 *
 * Source: VIRTIO 1.2, "Virtio Over PCI Bus", "Split Virtqueues".
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
#define PAGES 16

#define SYSFS "/sys/bus/pci/devices/00c1:00:00.0"

/* Registers. */
#define FEATURE_SELECT 0x08
#define FEATURE 0x0c
#define STATUS 0x14
#define QUEUE 0x16
#define QUEUE_SIZE 0x18
#define QUEUE_VECTOR 0x1a
#define QUEUE_ENABLE 0x1c
#define QUEUE_PARTS 0x20
#define BELL 0x300
#define VECTORS 0x800

static volatile uint8_t *registers;
static uint8_t *memory;
static uint64_t places[PAGES];
static uint64_t seed = 88172645463325252ULL;

static uint64_t any(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void give_up(const char *what)
{
	perror(what);
	exit(2);
}

static void set8(unsigned at, uint8_t value)
{
	registers[at] = value;
}

static void set16(unsigned at, uint16_t value)
{
	*(volatile uint16_t *)(registers + at) = value;
}

static void set32(unsigned at, uint32_t value)
{
	*(volatile uint32_t *)(registers + at) = value;
}

static void set64(unsigned at, uint64_t value)
{
	set32(at, (uint32_t)value);
	set32(at + 4, value >> 32);
}

/* Where the pages are that this program has for itself. */
static void find_pages(void)
{
	int file = open("/proc/self/pagemap", O_RDONLY);

	memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_LOCKED, -1, 0);
	if (file < 0 || memory == MAP_FAILED)
		give_up("memory");
	for (unsigned i = 0; i < PAGES; i++) {
		uint64_t entry;
		off_t at = (off_t)((uintptr_t)(memory + i * PAGE) / PAGE * sizeof(entry));

		if (pread(file, &entry, sizeof(entry), at) != sizeof(entry) || !(entry >> 63))
			give_up("/proc/self/pagemap");
		places[i] = (entry & ((1ULL << 55) - 1)) * PAGE;
	}
	close(file);
}

static void find_registers(void)
{
	int file = open(SYSFS "/enable", O_WRONLY);

	if (file < 0 || write(file, "1", 1) != 1)
		give_up(SYSFS "/enable");
	close(file);
	file = open(SYSFS "/resource0", O_RDWR);
	registers = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (file < 0 || registers == MAP_FAILED)
		give_up(SYSFS "/resource0");
	close(file);
}

/* An address: mostly of a page of our own, else of nobody, of a device, of anybody. */
static uint64_t address(void)
{
	switch (any() % 8) {
	case 0:
		return any();
	case 1:
		return 0xfee00000 + any() % PAGE;
	case 2:
		return 0xff100000 + any() % PAGE;
	case 3:
		return 0x100000000ULL + any() % (1ULL << 40);
	case 4:
	case 5:
		return places[PAGES - 1];
	default:
		return places[any() % PAGES] + any() % PAGE / 16 * 16;
	}
}

/* Fills a page with descriptors, or with numbers as rings have them. */
static void fill(uint8_t *page)
{
	for (unsigned at = 0; at < PAGE; at += 16) {
		uint64_t low = address();
		uint64_t high = any() % 3000 | (any() & 7) << 32 | (any() % 256) << 48;

		if (any() % 2) {
			low = any() & 0x00ff00ff00ff00ffULL;
			high = any() & 0x00ff00ff00ff00ffULL;
		}
		memcpy(page + at, &low, 8);
		memcpy(page + at + 8, &high, 8);
	}
}

/* Writes the beginning of a frame that is ours to send, to somebody or to all. */
static void fill_frame(uint8_t *page)
{
	for (unsigned at = 0; at < 12; at++)
		page[at] = any() % 2 ? 0 : any();
	for (unsigned at = 0; at < 6; at++) {
		page[18 + at] = registers[0x200 + at];
		page[12 + at] = any() % 2 ? 0xff : page[18 + at];
	}
	page[17] = any() % 4;
}

static void set_up_queue(uint16_t queue)
{
	set16(QUEUE, queue);
	set16(QUEUE_SIZE, 1 << any() % 12);
	set16(QUEUE_VECTOR, any() % 5);
	for (unsigned part = 0; part < 3; part++)
		set64(QUEUE_PARTS + 8 * part, address());
	set16(QUEUE_ENABLE, 1);
}

static void once(void)
{
	set8(STATUS, 0);
	set8(STATUS, 3);
	set32(FEATURE_SELECT, 0);
	set32(FEATURE, any() % 4 ? 0x2000bba3 & any() : any());
	set32(FEATURE_SELECT, 1);
	set32(FEATURE, 1);
	set8(STATUS, 11);
	for (unsigned i = 0; i < PAGES - 1; i++)
		fill(memory + i * PAGE);
	fill_frame(memory + (PAGES - 1) * PAGE);
	for (uint16_t queue = 0; queue < 3; queue++)
		set_up_queue(queue);
	for (unsigned at = 0; at < 48; at += 4)
		set32(VECTORS + at, any() % 2 ? 0xfee00000 | (any() & 0xfffff) : any());
	set8(STATUS, 15);
	for (unsigned i = 0; i < 20; i++) {
		/* How many there are of each ring: a page's third and fourth byte. */
		*(volatile uint16_t *)(memory + any() % PAGES * PAGE + 2) = any() % 64;
		set16(BELL, any() % 3);
		set32(any() % PAGE & ~3U, any());
	}
	/* Written over meanwhile, it may lie about anything. */
	set8(STATUS, 0);
}

int main(int argc, char **argv)
{
	time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 3);
	unsigned long resets = 0;

	find_pages();
	find_registers();
	for (; time(NULL) < end; resets++)
		once();
	printf("attack-net: done, %lu resets\n", resets);
	return 0;
}
