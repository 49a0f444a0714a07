/*
 * blocks {random|sequential} DEVICE BYTES COUNT DEPTH: reads COUNT times BYTES of a block
 * device past the cache, DEPTH of them at a time, and fails unless all of them come whole.
 *
 * The kernel's own asynchronous calls are used, as `fio --ioengine=libaio --direct=1` does.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST 64

static struct iocb reads[MOST];
static uint64_t state = 1;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* The next place of `places`; the same ones in each run. */
static uint64_t next(int random, uint64_t places)
{
	if (!random)
		return state++ % places;
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (state >> 33) % places;
}

static void begin(aio_context_t context, struct iocb *read, uint64_t at)
{
	read->aio_offset = at;
	if (syscall(SYS_io_submit, context, 1, &read) != 1)
		die("io_submit");
}

int main(int argc, char **argv)
{
	struct io_event events[MOST];
	aio_context_t context = 0;
	long size, count, depth, begun, done = 0;
	uint64_t places;
	int random, device;

	if (argc != 6)
		return fprintf(stderr, "usage: blocks {random|sequential} DEVICE BYTES COUNT DEPTH\n"), 2;
	random = !strcmp(argv[1], "random");
	size = atol(argv[3]);
	count = atol(argv[4]);
	depth = atol(argv[5]);
	if (size < 512 || depth < 1 || depth > MOST || depth > count)
		return fprintf(stderr, "blocks: BYTES from 512 on, DEPTH to %d and COUNT\n", MOST), 2;
	device = open(argv[2], O_RDONLY | O_DIRECT);
	if (device < 0)
		die(argv[2]);
	places = lseek(device, 0, SEEK_END) / size;
	if (!places)
		return fprintf(stderr, "blocks: %s has no %ld bytes\n", argv[2], size), 1;
	if (syscall(SYS_io_setup, depth, &context))
		die("io_setup");
	for (begun = 0; begun < depth; begun++) {
		void *buffer;

		if (posix_memalign(&buffer, 4096, size))
			die("memory");
		reads[begun] = (struct iocb){ .aio_lio_opcode = IOCB_CMD_PREAD,
					      .aio_fildes = device,
					      .aio_buf = (uintptr_t)buffer,
					      .aio_nbytes = size };
		begin(context, &reads[begun], next(random, places) * size);
	}
	while (done < count) {
		long n = syscall(SYS_io_getevents, context, 1, depth, events, NULL);

		if (n < 1)
			die("io_getevents");
		for (long i = 0; i < n; i++, done++) {
			if (events[i].res != size) {
				errno = events[i].res < 0 ? -events[i].res : EIO;
				die("read");
			}
			if (begun++ < count)
				begin(context, (struct iocb *)events[i].obj, next(random, places) * size);
		}
	}
	return 0;
}
