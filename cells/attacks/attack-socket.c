/*
 * attack-socket SECONDS: drives the cell's Extended Socket from a program, without any sense:
 * commands that are none, lists of pages that are not the cell's own, that are there twice or
 * only half, shares that come and go, rings in a storm. The driver is unloaded before. What
 * must not be hurt is everybody else, who is looked after elsewhere; and all pages of this
 * program have to be there in the end, as they were, whatever led to the link meanwhile. A
 * second CPU looks at one of them all the time: once a command is complete it must not see
 * any more what was there before.
 *
 * Nothing is written to pages while they are the link's: what a peer's driver reads there it
 * believes, which is what members of such a link trust each other for.
 *
 * Source: Linux, drivers/net/fjes/fjes_regs.h and fjes_hw.h.
 */
#define _GNU_SOURCE
#include "nonsense.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
#define HUGE (2UL << 20)

#define REGISTERS 0xff200000UL
#define OWN 0x00
#define MEMBERS 0x04
#define CONTROL 0x10
#define COMMAND 0x20
#define STATE 0x24
#define STATUS 0x28
#define REQUEST 0x34
#define RESPONSE 0x44
#define HAPPENED 0x80
#define MASK 0x84
#define UNMASK 0x88
#define RING 0x8c

#define RESET 1U
#define START (1U << 31)
#define FAILED (1U << 30)
#define COMPLETE (1U << 31)

#define INFO 1
#define SHARE 2
#define UNSHARE 4

/* Two lists of so many pages, each behind its size. */
#define LISTED 2049UL
#define ENTRIES (2 * (LISTED + 1))
#define SHARE_SIZE (8 + 8 * ENTRIES)

/* The pages that are shared, and behind them what requests and answers are in. */
#define SHARED (2 * LISTED)
#define HUGE_PAGES 10
#define ALL (HUGE_PAGES * HUGE / PAGE)

/* Where nobody's memory is. */
#define NOWHERE (1ULL << 45)

static volatile uint8_t *registers;
static uint8_t *memory;
static uint64_t places[HUGE_PAGES];
static uint32_t own, members;
static unsigned long shared, refused, rings;

/* The page that is looked at: one that what others send arrives in. */
#define LOOKED_AT (LISTED + 7)

/* Where it leads: to either while a command is under way. Each turn is a new number. */
enum { EITHER, OWN_PAGE, LINK_PAGE };

static volatile unsigned long turn;
static volatile unsigned long looks[3], late;

static uint32_t get(unsigned at)
{
	return *(volatile uint32_t *)(registers + at);
}

static void set(unsigned at, uint32_t value)
{
	*(volatile uint32_t *)(registers + at) = value;
}

static void set64(unsigned at, uint64_t value)
{
	set(at, (uint32_t)value);
	set(at + 4, value >> 32);
}

static void stay_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		give_up("a CPU of its own");
}

static void find_registers(void)
{
	int file = open("/dev/mem", O_RDWR | O_SYNC);

	registers = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, REGISTERS);
	if (file < 0 || registers == MAP_FAILED)
		give_up("/dev/mem");
	close(file);
	own = get(OWN);
	members = get(MEMBERS);
	if (own >= members || members > 4) {
		fprintf(stderr, "attack-socket: no Extended Socket: %u of %u\n", own, members);
		exit(2);
	}
}

static uint64_t place_of(int file, const void *address)
{
	uint64_t entry;
	off_t at = (off_t)((uintptr_t)address / PAGE * sizeof(entry));

	if (pread(file, &entry, sizeof(entry), at) != sizeof(entry) || !(entry >> 63))
		give_up("/proc/self/pagemap");
	return (entry & ((1ULL << 55) - 1)) * PAGE;
}

static void find_memory(void)
{
	FILE *wanted = fopen("/proc/sys/vm/nr_hugepages", "w");
	int file = open("/proc/self/pagemap", O_RDONLY);

	if (!wanted || fprintf(wanted, "%d\n", HUGE_PAGES) < 0 || fclose(wanted))
		give_up("/proc/sys/vm/nr_hugepages");
	memory = mmap(NULL, HUGE_PAGES * HUGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_HUGETLB, -1, 0);
	if (file < 0 || memory == MAP_FAILED)
		give_up("huge pages");
	for (int i = 0; i < HUGE_PAGES; i++)
		places[i] = place_of(file, memory + i * HUGE);
	close(file);
}

static uint64_t place(unsigned long page)
{
	return places[page * PAGE / HUGE] + page * PAGE % HUGE;
}

/* Each page says which one it is, but for the first: that goes to the link as a header. */
static void fill(void)
{
	for (unsigned long page = 1; page < SHARED; page++)
		for (unsigned word = 0; word < PAGE / 8; word++)
			((uint64_t *)(memory + page * PAGE))[word] = ~page << 20 | word;
}

static unsigned long changed(void)
{
	unsigned long wrong = 0;

	for (unsigned long page = 1; page < SHARED; page++)
		for (unsigned word = 0; word < PAGE / 8; word++)
			wrong += ((volatile uint64_t *)(memory + page * PAGE))[word] !=
				 (~page << 20 | word);
	return wrong;
}

/* The second CPU: whatever it remembers of where the page led, it goes on with. */
static void *look(void *unused)
{
	volatile uint64_t *word = (uint64_t *)(memory + LOOKED_AT * PAGE);

	stay_on(1);
	for (;;) {
		unsigned long before = turn;
		int is_own = *word == ~LOOKED_AT << 20;
		unsigned where = before % 4;

		if (turn != before)
			continue;
		late += where == (is_own ? LINK_PAGE : OWN_PAGE);
		looks[where]++;
	}
	return unused;
}

static void leads_to(int where)
{
	turn = (turn | 3) + 1 + where;
}

/* A bound keeps a hang from being one of ours; the other CPU may not be run for a while. */
#define PATIENCE 100000

/* From here on the page is seen where it leads; the second CPU is let look. */
static void let_look(int where)
{
	unsigned long end = looks[where] + 50;

	leads_to(where);
	for (int i = 0; i < PATIENCE && looks[where] < end; i++)
		usleep(100);
}

/* Waits until all CPUs have forgotten what was. */
static void complete(unsigned at, uint32_t bit, uint32_t wanted)
{
	for (int i = 0; i < PATIENCE; i++) {
		if ((get(at) & bit) == wanted)
			return;
		usleep(100);
	}
	printf("attack-socket: no end of %x\n", get(STATE));
	exit(1);
}

/* Requests and answers have a huge page of their own. */
static uint64_t *request(void)
{
	return (uint64_t *)(memory + (HUGE_PAGES - 1) * HUGE);
}

static void point(void)
{
	uint64_t at = places[HUGE_PAGES - 1];

	set(REQUEST, SHARE_SIZE);
	set64(REQUEST + 4, at);
	set(RESPONSE, 64);
	set64(RESPONSE + 4, at + HUGE / 2);
	set64(STATUS, at + HUGE / 2 + PAGE);
}

static int command(uint32_t code)
{
	int failed;

	leads_to(EITHER);
	set(COMMAND, START | code);
	failed = get(COMMAND) & FAILED;
	complete(STATE, COMPLETE, COMPLETE);
	return !failed;
}

static void reset(void)
{
	leads_to(EITHER);
	set(CONTROL, RESET);
	complete(CONTROL, RESET, 0);
	point();
	let_look(OWN_PAGE);
}

static void good_list(uint32_t whom)
{
	uint64_t *words = request();
	unsigned long page = 0;

	words[0] = SHARE_SIZE | (uint64_t)whom << 32;
	for (unsigned long i = 0; i < ENTRIES; i++)
		words[1 + i] = i % (LISTED + 1) ? place(page++) : LISTED * PAGE;
}

static void take_back(uint32_t whom)
{
	request()[0] = 8 | (uint64_t)whom << 32;
	command(UNSHARE);
	let_look(OWN_PAGE);
}

/* An address that is no page of the cell's own. */
static uint64_t foreign(void)
{
	switch (any() % 6) {
	case 0:
		return NOWHERE + any() % NOWHERE / PAGE * PAGE;
	case 1:
		return REGISTERS;
	case 2:
		return 0xfec00000;
	case 3:
		return 0xfee00000;
	case 4:
		return any() | 1;
	default:
		return (1ULL << 32) + any() % (1ULL << 40) / PAGE * PAGE;
	}
}

/* A share that must be refused: somewhere in its lists is what must not be. */
static void bad_share(uint32_t whom)
{
	uint64_t *words = request();
	unsigned long at = 1 + any() % ENTRIES;

	good_list(whom);
	/* Each kind in its turn: one that comes seldom might not come at all. */
	switch (refused % 4) {
	case 0:
		words[at] = words[at == 2 ? 3 : 2];
		break;
	case 1:
		words[at] = foreign();
		break;
	case 2:
		words[at] += 8 + any() % 4000 / 8 * 8;
		break;
	default:
		words[0] = any();
	}
	if (command(SHARE)) {
		printf("attack-socket: a bad list was taken at %lu: %llx\n", at,
		       (unsigned long long)words[at]);
		exit(1);
	}
	refused++;
	let_look(OWN_PAGE);
}

static void good_share(uint32_t whom)
{
	good_list(whom);
	if (command(SHARE)) {
		shared++;
		let_look(LINK_PAGE);
	}
	/* Twice is once too often. */
	if (command(SHARE))
		printf("attack-socket: shared twice\n"), exit(1);
	if (any() % 2)
		take_back(whom);
	else
		reset();
}

static void storm(void)
{
	for (int i = 0; i < 2000; i++, rings++)
		set(RING, any() % 2 ? (uint32_t)any() : (uint32_t)(any() & 0x1f0003));
}

static void nonsense(void)
{
	leads_to(EITHER);
	for (int i = 0; i < 500; i++) {
		unsigned at = any() % PAGE;

		if (any() % 2)
			at = any() % 0x94 & ~3U;
		switch (any() % 8) {
		case 0:
			registers[at] = any();
			break;
		case 1:
			*(volatile uint64_t *)(registers + at % (PAGE - 8)) = any();
			break;
		case 2:
		case 3:
			get(at & ~3U);
			break;
		default:
			/* Status bytes go where the register says: to this program's page. */
			if ((at & ~3U) != STATUS && (at & ~3U) != STATUS + 4 &&
			    (at & ~3U) != RESPONSE + 4 && (at & ~3U) != RESPONSE + 8)
				set(at & ~3U, any());
		}
	}
	reset();
}

int main(int argc, char **argv)
{
	time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 5);
	unsigned long wrong;
	pthread_t second;

	stay_on(0);
	find_registers();
	find_memory();
	fill();
	if (pthread_create(&second, NULL, look, NULL))
		give_up("a second thread");
	reset();
	while (time(NULL) < end) {
		uint32_t whom = (own + 1 + any() % (members - 1)) % members;

		switch (any() % 8) {
		case 0:
			nonsense();
			break;
		case 1:
			storm();
			break;
		case 2:
		case 3:
			good_share(whom);
			break;
		case 4:
			request()[0] = any() % 2 ? any() : 4;
			command(any() % 2 ? INFO : any() & 0xffff & ~SHARE);
			break;
		default:
			bad_share(any() % 4 ? whom : (uint32_t)any());
		}
	}
	reset();
	wrong = changed();
	printf("attack-socket: done, %lu shares, %lu bad lists refused, %lu rings, %lu looks at the "
	       "link, %lu at what is its own, %lu late, %lu words lost\n",
	       shared, refused, rings, looks[LINK_PAGE], looks[OWN_PAGE], late, wrong);
	return wrong || late || !shared || !refused;
}
