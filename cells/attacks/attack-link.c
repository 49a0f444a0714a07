/*
 * attack-link NUMBER SECONDS: the root drives its adapter on the link with this number, past
 * the driver that it has for it and without any sense: registers of any size with any value,
 * queues anywhere, and the bell again and again. Somebody else writes to the link's memory
 * meanwhile. What must not be hurt is the monitor, and the others in the network.
 *
 * Source: VIRTIO 1.2, "Virtio Over PCI Bus".
 */
#include "nonsense.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* Of the monitor's interface: an ioctl, a call, and what they answer. */
struct call {
	uint64_t buffer;
	uint32_t code, request_len, capacity, response_len, status, reserved;
};

#define CALL _IOWR('V', 5, struct call)
#define LINK_WRITE (0x43560000 + 21)
#define OK 0
#define AGAIN 1

/* Registers. */
#define FEATURE_SELECT 0x08
#define FEATURE 0x0c
#define STATUS 0x14
#define QUEUE 0x16
#define QUEUE_SIZE 0x18
#define QUEUE_ENABLE 0x1c
#define QUEUE_PARTS 0x20
#define BELL 0x300

static int driver;
static uint32_t number;
static unsigned long long writes;

/* Appends a number: 7 bits in each byte, bit 7 says that more follow. */
static uint8_t *put(uint8_t *at, uint64_t value)
{
	for (; value > 0x7f; value >>= 7)
		*at++ = value | 0x80;
	*at++ = value;
	return at;
}

static uint32_t write_to(uint16_t offset, uint8_t size, uint64_t value)
{
	uint8_t buffer[64], *end = buffer;
	struct call call = { .buffer = (uint64_t)(uintptr_t)buffer, .code = LINK_WRITE };

	end = put(end, number);
	end = put(end, offset);
	*end++ = size;
	end = put(end, value);
	call.request_len = end - buffer;
	call.capacity = sizeof(buffer);
	if (ioctl(driver, CALL, &call))
		give_up("attack-link: the driver");
	writes++;
	return call.status;
}

/* Somewhere in the link's memory, or anywhere. */
static uint64_t place(void)
{
	return any() % 8 ? (any() % (4 << 20)) & ~15ULL : any();
}

/* As a driver does, but for where the queues are. */
static void set_up(void)
{
	write_to(STATUS, 1, 0);
	write_to(FEATURE, 4, any() & 0x2001bba3);
	write_to(FEATURE_SELECT, 4, 1);
	write_to(FEATURE, 4, 1);
	write_to(STATUS, 1, 11);
	for (uint64_t queue = 0; queue < 2; queue++) {
		write_to(QUEUE, 2, queue);
		write_to(QUEUE_SIZE, 2, 1ULL << any() % 11);
		for (uint16_t part = 0; part < 3; part++)
			write_to(QUEUE_PARTS + 8 * part, 8, place());
		write_to(QUEUE_ENABLE, 2, 1);
	}
	write_to(STATUS, 1, 15);
}

int main(int argc, char **argv)
{
	unsigned long long again = 0;
	time_t end;

	if (argc != 3)
		return 2;
	number = strtoul(argv[1], NULL, 10);
	end = time(NULL) + atoi(argv[2]);
	driver = open("/dev/cellvisor", O_RDWR);
	if (driver < 0)
		give_up("/dev/cellvisor");
	while (time(NULL) < end) {
		set_up();
		for (int i = 0; i < 20; i++) {
			uint32_t status = any() % 2 ? write_to(BELL, 2, 1) : write_to(any(), any() % 9, any());

			if (status != OK && status != AGAIN) {
				printf("attack-link: status %u\n", status);
				return 1;
			}
			again += status == AGAIN;
		}
	}
	printf("attack-link: done, %llu writes, %llu to be gone on with\n", writes, again);
	return 0;
}
