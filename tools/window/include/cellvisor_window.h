/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Memory that cells share, and rings of frames in it, for programs in C: what the crate
 * `cellvisor-window` is for those in Rust, in the same form (its module `ring` tells it).
 * All of it is static; C11 and POSIX are enough.
 *
 * Whatever another member writes, nothing here reads or writes beyond the memory, or waits.
 */
#ifndef CELLVISOR_WINDOW_H
#define CELLVISOR_WINDOW_H

#include <fcntl.h>
#include <glob.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Longest frame in bytes. */
#define CELLVISOR_MOST 65536u

/* Words (of 8 bytes) of a ring before its frames: where both positions are, and whether the
 * reader sleeps. */
enum { CELLVISOR_HEAD = 0, CELLVISOR_TAIL = 8, CELLVISOR_ASLEEP = 9, CELLVISOR_FRAMES = 16 };

/* A link as a cell sees it: where it is, in bytes, and which member the cell is. */
struct cellvisor_link {
	uint64_t start, size;
	/* From 0, of so many that write; both 0 for one that only reads. */
	unsigned int place, members;
};

/* Words that anybody may write at any time. */
struct cellvisor_words {
	_Atomic uint64_t *at;
	uint64_t count;
};

/* An end of a ring, with its own position: how many words it ever wrote or read. */
struct cellvisor_end {
	struct cellvisor_words words;
	uint64_t position;
};

/* The first line of a file of sysfs; empty if there is none. */
static inline void cellvisor_line(const char *device, const char *name, char *line, int size)
{
	char path[256];
	FILE *file;

	line[0] = 0;
	snprintf(path, sizeof(path), "%s/%s", device, name);
	file = fopen(path, "r");
	if (!file)
		return;
	if (fgets(line, size, file))
		line[strcspn(line, "\n")] = 0;
	fclose(file);
}

/* Finds the link of this name in a cell, as root. 0, or -1 if there is none here. */
static inline int cellvisor_find(const char *name, struct cellvisor_link *link)
{
	char line[256], found[256] = "", *member;
	unsigned long long first, last;
	int at = 0, known = -1;
	glob_t all;
	FILE *ranges;

	memset(link, 0, sizeof(*link));
	if (glob("/sys/bus/acpi/devices/CLVS0001:*", 0, NULL, &all))
		return -1;
	for (size_t i = 0; i < all.gl_pathc && !found[0]; i++) {
		cellvisor_line(all.gl_pathv[i], "uid", line, sizeof(line));
		if (strcmp(line, name))
			continue;
		snprintf(found, sizeof(found), "%s", strrchr(all.gl_pathv[i], '/') + 1);
		cellvisor_line(all.gl_pathv[i], "description", line, sizeof(line));
		member = strstr(line, ", member ");
		if (member && sscanf(member, ", member %u of %u", &link->place, &link->members) == 2)
			link->place--;
	}
	globfree(&all);
	ranges = found[0] ? fopen("/proc/iomem", "r") : NULL;
	if (!ranges)
		return -1;
	while (known && fgets(line, sizeof(line), ranges)) {
		line[strcspn(line, "\n")] = 0;
		if (sscanf(line, " %llx-%llx : %n", &first, &last, &at) == 2 && !strcmp(line + at, found) &&
		    first && last > first) {
			link->start = first;
			link->size = last - first + 1;
			known = 0;
		}
	}
	fclose(ranges);
	return known;
}

/* Maps `size` bytes at `offset` of a file (/dev/mem for a link that was found), to read and
 * to write. Its words are none if it may not be mapped. */
static inline struct cellvisor_words cellvisor_map(const char *path, uint64_t offset, uint64_t size)
{
	struct cellvisor_words words = { NULL, 0 };
	int file = open(path, O_RDWR);
	void *at;

	if (file < 0)
		return words;
	at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, (off_t)offset);
	close(file);
	if (at != MAP_FAILED) {
		words.at = at;
		words.count = size / sizeof(uint64_t);
	}
	return words;
}

/* The ring from one member to another of `members`; without words if there is no such ring,
 * or the link is too small for it. */
static inline struct cellvisor_words cellvisor_ring(struct cellvisor_words all, unsigned int members,
						    unsigned int from, unsigned int to)
{
	const uint64_t least = CELLVISOR_FRAMES + 2 * (1 + CELLVISOR_MOST / 8);
	struct cellvisor_words ring = { NULL, 0 };
	uint64_t size;

	if (from >= members || to >= members || from == to)
		return ring;
	/* Whole cache lines, so that no two rings share one. */
	size = all.count / ((uint64_t)members * members) / 8 * 8;
	if (size >= least) {
		ring.at = all.at + ((uint64_t)from * members + to) * size;
		ring.count = size;
	}
	return ring;
}

static inline uint64_t cellvisor_capacity(const struct cellvisor_end *end)
{
	return end->words.count > CELLVISOR_FRAMES ? end->words.count - CELLVISOR_FRAMES : 0;
}

/* The word with this number among all that ever were in the ring. */
static inline _Atomic uint64_t *cellvisor_slot(const struct cellvisor_end *end, uint64_t number)
{
	return end->words.at + CELLVISOR_FRAMES + number % cellvisor_capacity(end);
}

static inline uint64_t cellvisor_load(const struct cellvisor_end *end, int at)
{
	return atomic_load_explicit(&end->words.at[at], memory_order_acquire);
}

/* Moves to a position, and shows it to the other end. */
static inline void cellvisor_move(struct cellvisor_end *end, int at, uint64_t position)
{
	end->position = position;
	atomic_store_explicit(&end->words.at[at], position, memory_order_release);
}

/* The writing end: goes on where the last writer has stopped. */
static inline struct cellvisor_end cellvisor_writer(struct cellvisor_words ring)
{
	struct cellvisor_end end = { ring, 0 };

	if (cellvisor_capacity(&end)) {
		uint64_t head = cellvisor_load(&end, CELLVISOR_HEAD);
		uint64_t tail = cellvisor_load(&end, CELLVISOR_TAIL);

		/* Before the first reader, or after nonsense: an empty ring. */
		end.position = head - tail > cellvisor_capacity(&end) ? tail : head;
	}
	return end;
}

/* The reading end: begins with what is written from now on. */
static inline struct cellvisor_end cellvisor_reader(struct cellvisor_words ring)
{
	struct cellvisor_end end = { ring, 0 };

	if (cellvisor_capacity(&end))
		cellvisor_move(&end, CELLVISOR_TAIL, cellvisor_load(&end, CELLVISOR_HEAD));
	return end;
}

/* Writes a frame of 1 to CELLVISOR_MOST bytes. 1, or 0 if there is no room for it now (or
 * ever), or -1 after nonsense of the reader's: the ring goes on where that says it is. */
static inline int cellvisor_write(struct cellvisor_end *end, const void *frame, size_t size)
{
	uint64_t words = 1 + (size + 7) / 8, capacity = cellvisor_capacity(end), read, used;

	if (!capacity || !size || size > CELLVISOR_MOST)
		return 0;
	read = cellvisor_load(end, CELLVISOR_TAIL);
	used = end->position - read;
	if (used > capacity) {
		cellvisor_move(end, CELLVISOR_HEAD, read);
		return -1;
	}
	if (words > capacity - used)
		return 0;
	atomic_store_explicit(cellvisor_slot(end, end->position), size, memory_order_relaxed);
	for (uint64_t n = 1; n < words; n++) {
		size_t at = (n - 1) * 8, left = size - at;
		uint64_t value = 0;

		memcpy(&value, (const char *)frame + at, left < 8 ? left : 8);
		atomic_store_explicit(cellvisor_slot(end, end->position + n), value, memory_order_relaxed);
	}
	cellvisor_move(end, CELLVISOR_HEAD, end->position + words);
	return 1;
}

/* True if the reader sleeps: who has written a frame rings it then, if the link has a
 * doorbell. */
static inline int cellvisor_is_to_ring(const struct cellvisor_end *end)
{
	/* After the frame: either this sees that it sleeps, or it has seen the frame. */
	atomic_thread_fence(memory_order_seq_cst);
	return cellvisor_capacity(end) && cellvisor_load(end, CELLVISOR_ASLEEP) != 0;
}

/* Says that the reader sleeps no more. */
static inline void cellvisor_wake_up(const struct cellvisor_end *end)
{
	if (cellvisor_capacity(end))
		atomic_store_explicit(&end->words.at[CELLVISOR_ASLEEP], 0, memory_order_relaxed);
}

/* Says that the reader is about to sleep until it is rung; 0 if there is something to read
 * instead, and nothing was said. */
static inline int cellvisor_fall_asleep(const struct cellvisor_end *end)
{
	if (!cellvisor_capacity(end))
		return 0;
	atomic_store_explicit(&end->words.at[CELLVISOR_ASLEEP], 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
	if (cellvisor_load(end, CELLVISOR_HEAD) == end->position)
		return 1;
	cellvisor_wake_up(end);
	return 0;
}

/* Reads a frame into `out`, which has room for CELLVISOR_MOST bytes. Its size, or 0 if there
 * is none, or -1 after nonsense of the writer's: what was in the ring is skipped. */
static inline long cellvisor_read(struct cellvisor_end *end, void *out)
{
	uint64_t capacity = cellvisor_capacity(end), head, there, size, words;

	if (!capacity)
		return 0;
	head = cellvisor_load(end, CELLVISOR_HEAD);
	there = head - end->position;
	if (!there)
		return 0;
	size = atomic_load_explicit(cellvisor_slot(end, end->position), memory_order_relaxed);
	words = size <= CELLVISOR_MOST ? 1 + (size + 7) / 8 : UINT64_MAX;
	if (there > capacity || !size || words > there) {
		cellvisor_move(end, CELLVISOR_TAIL, head);
		return -1;
	}
	for (uint64_t n = 1; n < words; n++) {
		size_t at = (n - 1) * 8, left = size - at;
		uint64_t value =
			atomic_load_explicit(cellvisor_slot(end, end->position + n), memory_order_relaxed);

		memcpy((char *)out + at, &value, left < 8 ? left : 8);
	}
	cellvisor_move(end, CELLVISOR_TAIL, end->position + words);
	return (long)size;
}

#endif
