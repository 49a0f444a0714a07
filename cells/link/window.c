/*
 * What programs do with a link's memory: find it by name, map it, read and write it,
 * and stream through a ring in it.
 *
 *   window list                 name, address and size of each
 *   window write NAME TEXT      puts a line at its start
 *   window read NAME            prints the line that is there
 *   window send NAME            standard input goes into the ring
 *   window receive NAME         what comes out of the ring goes to standard output
 *   window clock NAME           asks the monitor to write this CPU's clock there
 *   window garbage NAME SECONDS writes nonsense everywhere
 *   window at FILE HEX SIZE …   as above, by an offset in a file, for the root
 *
 * In a cell, an ACPI device stands for each link (hardware id CLVS0001): its unique
 * id is the name, and /proc/iomem has its range.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define DEVICES "/sys/bus/acpi/devices/CLVS0001:*"
#define SYSTEM_TIME 0x4b564d01
#define LINE 256

/* Positions only grow; data begins on the page after the first. */
struct ring {
	_Alignas(64) _Atomic uint64_t head;
	_Alignas(64) _Atomic uint64_t tail;
	_Alignas(64) _Atomic uint64_t closed;
};

#define RING 4096
#define DATA 8192

struct window {
	uint64_t base, size;
	int writable;
	char name[64];
	char *bytes;
};

static void fail(const char *what)
{
	fprintf(stderr, "window: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* The first line of a file of a device; empty if there is none. */
static void attribute(const char *device, const char *name, char *out, size_t size)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", device, name);
	out[0] = 0;
	file = fopen(path, "r");
	if (!file)
		return;
	if (!fgets(out, size, file))
		out[0] = 0;
	out[strcspn(out, "\n")] = 0;
	fclose(file);
}

/* The range that /proc/iomem has under the name of a device. */
static int range(const char *device, struct window *window)
{
	const char *id = strrchr(device, '/') + 1;
	unsigned long long first, last;
	char line[LINE];
	int found = 0;
	FILE *file = fopen("/proc/iomem", "r");

	if (!file)
		fail("/proc/iomem");
	while (!found && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = 0;
		found = strstr(line, id) && sscanf(line, " %llx-%llx", &first, &last) == 2;
	}
	fclose(file);
	if (!found)
		return 0;
	window->base = first;
	window->size = last - first + 1;
	return 1;
}

static int describe(const char *device, struct window *window)
{
	char about[LINE];

	attribute(device, "uid", window->name, sizeof(window->name));
	attribute(device, "description", about, sizeof(about));
	window->writable = strstr(about, "written") != NULL;
	return range(device, window);
}

static void list(void)
{
	struct window window;
	glob_t found;

	if (glob(DEVICES, 0, NULL, &found))
		return;
	for (size_t i = 0; i < found.gl_pathc; i++) {
		if (describe(found.gl_pathv[i], &window))
			printf("window: %s base=%#llx size=%llu access=%s\n", window.name,
			       (unsigned long long)window.base, (unsigned long long)window.size,
			       window.writable ? "rw" : "ro");
	}
	globfree(&found);
}

static void map(struct window *window, const char *file, int protection)
{
	/* A file that is open to be read alone makes no shared mapping, which the
	 * driver asks for. */
	int fd = open(file, O_RDWR);

	if (fd < 0)
		fail(file);
	window->bytes = mmap(NULL, window->size, protection, MAP_SHARED, fd, window->base);
	if (window->bytes == MAP_FAILED)
		fail("mmap");
	close(fd);
}

static void find(struct window *window, const char *name)
{
	glob_t found;

	if (glob(DEVICES, 0, NULL, &found))
		found.gl_pathc = 0;
	for (size_t i = 0; i < found.gl_pathc; i++) {
		if (describe(found.gl_pathv[i], window) && !strcmp(window->name, name))
			return;
	}
	fprintf(stderr, "window: no link is called %s\n", name);
	exit(1);
}

static void send_all(struct window *window)
{
	struct ring *ring = (struct ring *)(window->bytes + RING);
	uint64_t room = window->size - DATA, head = 0, sum = 0;
	static char part[65536];
	ssize_t got;

	atomic_store(&ring->closed, 0);
	atomic_store(&ring->tail, 0);
	atomic_store(&ring->head, 0);
	while ((got = read(0, part, sizeof(part))) > 0) {
		while (head + got - atomic_load(&ring->tail) > room)
			__builtin_ia32_pause();
		for (ssize_t i = 0; i < got;) {
			uint64_t at = (head + i) % room;
			size_t size = got - i;

			if (size > room - at)
				size = room - at;
			memcpy(window->bytes + DATA + at, part + i, size);
			i += size;
		}
		head += got;
		sum += got;
		atomic_store(&ring->head, head);
	}
	atomic_store(&ring->closed, 1);
	printf("window: sent %llu bytes\n", (unsigned long long)sum);
}

/* The sender is another cell: what it says of positions is looked at first. */
static void receive_all(struct window *window)
{
	struct ring *ring = (struct ring *)(window->bytes + RING);
	uint64_t room = window->size - DATA, tail = 0;
	static char part[65536];

	for (;;) {
		uint64_t closed = atomic_load(&ring->closed);
		uint64_t there = atomic_load(&ring->head) - tail;

		if (there > room) {
			fprintf(stderr, "window: the ring is not one\n");
			exit(1);
		}
		if (!there && closed) {
			/* As new memory is: who receives next waits for its sender. */
			atomic_store(&ring->head, 0);
			atomic_store(&ring->tail, 0);
			atomic_store(&ring->closed, 0);
			break;
		}
		if (!there) {
			__builtin_ia32_pause();
			continue;
		}
		uint64_t at = tail % room;
		size_t size = there;

		if (size > room - at)
			size = room - at;
		if (size > sizeof(part))
			size = sizeof(part);
		memcpy(part, window->bytes + DATA + at, size);
		tail += size;
		atomic_store(&ring->tail, tail);
		if (write(1, part, size) != (ssize_t)size)
			fail("standard output");
	}
}

/*
 * Nonsense for those who trust what they read: single words anywhere, among them small
 * numbers, which could be lengths or positions.
 */
static void garbage(struct window *window, unsigned int seconds)
{
	_Atomic uint64_t *words = (_Atomic uint64_t *)window->bytes;
	uint64_t count = window->size / sizeof(*words), random = 88172645463325252;
	time_t end = time(NULL) + seconds;

	while (time(NULL) < end) {
		for (int i = 0; i < 10000; i++) {
			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			atomic_store(&words[random % count], i % 2 ? random : random >> 44);
		}
	}
	printf("window: wrote nonsense for %u s\n", seconds);
}

/* What the cell may not write, the monitor must not write for it. */
static void ask_for_clock(struct window *window)
{
	uint64_t value = window->base | 1;
	int fd = open("/dev/cpu/0/msr", O_RDWR);

	if (fd < 0)
		fail("/dev/cpu/0/msr");
	if (pwrite(fd, &value, sizeof(value), SYSTEM_TIME) == sizeof(value))
		printf("window: the clock is there\n");
	else
		printf("window: the clock is refused: %s\n", strerror(errno));
	close(fd);
}

int main(int argc, char **argv)
{
	const char *file = "/dev/mem", *verb = argc > 1 ? argv[1] : "";
	struct window window = { .size = 0 };
	int words = 2;

	if (!strcmp(verb, "list")) {
		list();
		return 0;
	}
	if (!strcmp(verb, "at") && argc > 5) {
		file = argv[2];
		window.base = strtoull(argv[3], NULL, 16);
		window.size = strtoull(argv[4], NULL, 10);
		verb = argv[5];
		words = 6;
	} else if (argc > 2) {
		find(&window, argv[2]);
		words = 3;
	}
	if (!window.size) {
		fprintf(stderr, "window: list | {write|read|send|receive|clock|garbage} NAME\n");
		return 2;
	}
	if (!strcmp(verb, "clock")) {
		ask_for_clock(&window);
		return 0;
	}
	map(&window, file, strcmp(verb, "read") ? PROT_READ | PROT_WRITE : PROT_READ);
	if (!strcmp(verb, "write"))
		snprintf(window.bytes, LINE, "%s", argc > words ? argv[words] : "");
	else if (!strcmp(verb, "read"))
		printf("window: reads \"%.*s\"\n", LINE, window.bytes);
	else if (!strcmp(verb, "send"))
		send_all(&window);
	else if (!strcmp(verb, "receive"))
		receive_all(&window);
	else if (!strcmp(verb, "garbage"))
		garbage(&window, argc > words ? atoi(argv[words]) : 1);
	return 0;
}
