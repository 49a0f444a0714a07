/*
 * attack-net SECONDS [NUMBER]: drives one of the cell's adapters (of a network, or of its
 * console) from a program, the first or the one with this number, without any sense: queues
 * in its own memory and where there is none; descriptors, rings, registers and messages
 * that say anything at all. What must not be hurt is everybody
 * else, who is looked after elsewhere; its own kernel is spared, so that the attack lasts:
 * wherever the adapter writes in the cell's memory, this program has that piece for itself.
 *
 * Source: VIRTIO 1.2, "Virtio Over PCI Bus", "Split Virtqueues"; PCI Local Bus 3.0,
 * "MSI-X Capability and Table Structure".
 */
#include "nonsense.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL

/*
 * What the adapter is pointed at begins in the first pages of a huge one. No frame and no
 * ring that begins there reaches the end of it.
 */
#define HUGE (2UL << 20)
#define PAGES 16

/* The frame is in the last of them, and no descriptor that is read there leads anywhere. */
#define FRAME ((PAGES - 1) * PAGE + 8)

/* A used ring must not be there: of one with 256 entries the last counter leaves its page. */
#define UNALIGNED (PAGE - 1 - 4 - 8 * 256)

/* Where nobody's memory is, whatever a ring's counter writes over it. */
#define NOWHERE (1ULL << 50 | 1ULL << 32)

#define SYSFS "/sys/bus/pci/devices/00c1:00:%02x.0"

/* Registers. */
#define OFFER_SELECT 0x00
#define OFFER 0x04
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

/* The queue of what the cell sends. */
#define TRANSMIT 1

/* Linux, arch/x86/include/asm/irq_vectors.h: the same in all of its versions here. */
#define RESCHEDULE 0xfd

/* Byte of configuration space that turns messages on. */
#define MSIX_CONTROL 0x43

static volatile uint8_t *registers;
static uint8_t *memory;
static uint64_t place;
static uint64_t behind;

/* Features that the adapter has, without one that all drivers have to take. */
static uint32_t offered;

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

/* Takes a huge page, and looks where it is. */
static void find_memory(void)
{
	FILE *wanted = fopen("/proc/sys/vm/nr_hugepages", "w");
	int file = open("/proc/self/pagemap", O_RDONLY);
	uint64_t entry;

	if (!wanted || fputs("1\n", wanted) < 0 || fclose(wanted))
		give_up("/proc/sys/vm/nr_hugepages");
	memory = mmap(NULL, HUGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_HUGETLB, -1, 0);
	if (file < 0 || memory == MAP_FAILED)
		give_up("a huge page");
	if (pread(file, &entry, sizeof(entry), (off_t)((uintptr_t)memory / PAGE * sizeof(entry))) !=
		    sizeof(entry) || !(entry >> 63))
		give_up("/proc/self/pagemap");
	place = (entry & ((1ULL << 55) - 1)) * PAGE;
	close(file);
}

/* Where the cell's memory ends. */
static void find_end(void)
{
	FILE *map = fopen("/proc/iomem", "r");
	char line[128];
	unsigned long long end;

	while (map && fgets(line, sizeof(line), map))
		if (strstr(line, "System RAM") && sscanf(line, "%*x-%llx", &end) == 1)
			behind = end + 1;
	if (!behind)
		give_up("/proc/iomem");
	fclose(map);
}

static void find_registers(int number)
{
	char folder[64];
	int file;

	snprintf(folder, sizeof(folder), SYSFS, number);
	if (chdir(folder))
		give_up(folder);
	file = open("enable", O_WRONLY);
	if (file < 0 || write(file, "1", 1) != 1)
		give_up("enable");
	close(file);
	file = open("resource0", O_RDWR);
	registers = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (file < 0 || registers == MAP_FAILED)
		give_up("resource0");
	close(file);
	set32(OFFER_SELECT, 0);
	offered = *(volatile uint32_t *)(registers + OFFER);
	/* Messages are sent from now on. */
	file = open("config", O_WRONLY);
	if (file < 0 || pwrite(file, "\x80", 1, MSIX_CONTROL) != 1)
		give_up("config");
	close(file);
}

/* An address: mostly of our own memory, else of nobody, of a device, of anybody. */
static uint64_t address(void)
{
	switch (any() % 8) {
	case 0:
		return any() | NOWHERE;
	case 1:
		return (any() % 2 ? 0xfee00000 : 0xff000000) + any() % PAGE;
	case 2:
		return 0xff100000 + any() % PAGE;
	case 3:
		return any() % 2 ? behind + any() % PAGE : 1ULL << 32 | any() % (1ULL << 40);
	case 4:
	case 5:
		return place + FRAME;
	default:
		return place + any() % (PAGES * PAGE) / 16 * 16;
	}
}

/* Fills a page with descriptors, or with numbers as rings have them. */
static void fill(uint8_t *page)
{
	for (unsigned at = 0; at < PAGE; at += 16) {
		uint64_t low = address();
		uint64_t high = any() % 3000 | (any() & 7) << 32 | (any() % 256) << 48;

		if (any() % 16 == 0) {
			/* One of no bytes that leads to itself. */
			high = 1ULL << 32 | (uint64_t)at / 16 << 48;
		} else if (any() % 16 == 0) {
			/* As long as all of the cell's memory. */
			high |= 0x0fffffff;
		} else if (any() % 2) {
			low = (any() & 0x00ff00ff00ff00ffULL) | NOWHERE;
			high = any() & 0x00ff00ff00ff00ffULL;
		}
		memcpy(page + at, &low, 8);
		memcpy(page + at + 8, &high, 8);
	}
}

/* Writes the beginning of a frame that is ours to send, to somebody or to all. */
static void fill_frame(uint8_t *frame)
{
	for (unsigned at = 0; at < 12; at++)
		frame[at] = any() % 2 ? 0 : any();
	for (unsigned at = 0; at < 6; at++) {
		frame[18 + at] = registers[0x200 + at];
		frame[12 + at] = any() % 2 ? 0xff : frame[18 + at];
	}
	frame[17] = any() % 4;
}

/*
 * Tables begin at multiples of 16. Rings do not, so that no counter of theirs becomes the
 * part of a descriptor's address by which it would point to the kernel.
 */
static void set_up_queue(uint16_t queue)
{
	set16(QUEUE, queue);
	set16(QUEUE_SIZE, 1 << any() % 12);
	set16(QUEUE_VECTOR, any() % 5);
	set64(QUEUE_PARTS, address() & ~15ULL);
	set64(QUEUE_PARTS + 8, any() % 2 ? place + any() % PAGES * PAGE + 8
					 : (address() & ~15ULL) + 8);
	set64(QUEUE_PARTS + 16, any() % 8 ? (address() & ~15ULL) + 4 + any() % 3 * 4
					  : place + UNALIGNED);
	set16(QUEUE_ENABLE, 1);
}

/*
 * Messages to any CPU. They reach our own, too: their vector is the one by which kernels
 * ask each other's CPUs to look whether there is something to run.
 */
static void set_up_vectors(void)
{
	for (unsigned at = VECTORS; at < VECTORS + 48; at += 16) {
		set32(at, 0xfee00000 | (any() & 0xfffff));
		set32(at + 4, any() % 4 ? 0 : any());
		set32(at + 8, (any() % 4 ? 0 : any() & ~0x7ffULL) | RESCHEDULE);
		set32(at + 12, any() % 4 ? 0 : any());
	}
}

/* A queue of which all is right, but that its descriptor of no bytes leads to itself. */
static void endless(void)
{
	const uint64_t descriptor[] = { place + FRAME, 1ULL << 32 };
	const uint16_t available[] = { 0, 1, 0 };

	set8(STATUS, 0);
	set8(STATUS, 3);
	set32(FEATURE_SELECT, 0);
	set32(FEATURE, 0);
	set32(FEATURE_SELECT, 1);
	set32(FEATURE, 1);
	set8(STATUS, 11);
	memcpy(memory, descriptor, sizeof(descriptor));
	memcpy(memory + PAGE, available, sizeof(available));
	set16(QUEUE, TRANSMIT);
	set16(QUEUE_SIZE, 4);
	set64(QUEUE_PARTS, place);
	set64(QUEUE_PARTS + 8, place + PAGE);
	set64(QUEUE_PARTS + 16, place + 2 * PAGE);
	set16(QUEUE_ENABLE, 1);
	set8(STATUS, 15);
	set16(BELL, TRANSMIT);
}

static void once(void)
{
	set8(STATUS, 0);
	set8(STATUS, 3);
	set32(FEATURE_SELECT, 0);
	set32(FEATURE, any() % 4 ? offered & any() : any());
	set32(FEATURE_SELECT, 1);
	set32(FEATURE, 1);
	set8(STATUS, 11);
	for (unsigned i = 0; i < PAGES; i++)
		fill(memory + i * PAGE);
	fill_frame(memory + FRAME);
	for (uint16_t queue = 0; queue < 3; queue++)
		set_up_queue(queue);
	set_up_vectors();
	set8(STATUS, 15);
	for (unsigned i = 0; i < 20; i++) {
		/* How many there are of a ring that begins at a page's eighth byte. */
		*(volatile uint16_t *)(memory + any() % PAGES * PAGE + 10) = any() % 64;
		set16(BELL, any() % 3);
		set32(any() % VECTORS & ~3U, any());
	}
	/* Written over meanwhile, it may lie about anything. */
	set8(STATUS, 0);
}

int main(int argc, char **argv)
{
	time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 3);
	unsigned long resets = 0;

	find_memory();
	find_end();
	find_registers(argc > 2 ? atoi(argv[2]) : 0);
	endless();
	for (; time(NULL) < end; resets++)
		once();
	printf("attack-net: done, %lu resets\n", resets);
	return 0;
}
