/*
 * attack-bell INTERFACE SECONDS [ADDRESS]: a member of a link with a doorbell sends all that
 * its kernel lets a program send: rings in a storm, to every member there may be, to those who
 * are not there and to all; in others' names, of any type and any length; and to ADDRESS, that
 * of a member of another link. Who is rung that often is hurt no more than by its own waking;
 * who is in no link with this one hears nothing of it.
 *
 * Source: packet(7).
 */
#include "nonsense.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ADDRESS 6
#define HEAD 14
#define MOST 1514

/* Linux's rings are of this type. */
#define RING 0x88b5

static unsigned char mine[ADDRESS];
static unsigned char foreign[ADDRESS];

/* Writes the head of a frame: mostly one that is a ring. */
static void fill(unsigned char *frame)
{
	uint16_t type = htons(any() % 8 ? RING : any());

	memcpy(frame, mine, ADDRESS);
	switch (any() % 8) {
	case 0:
		memset(frame, 0xff, ADDRESS);
		break;
	case 1:
		memcpy(frame, foreign, ADDRESS);
		break;
	case 2:
		frame[any() % ADDRESS] = any();
		break;
	default:
		frame[ADDRESS - 1] = any() % 9;
	}
	memcpy(frame + ADDRESS, mine, ADDRESS);
	if (any() % 4 == 0)
		frame[ADDRESS + any() % ADDRESS] = any();
	memcpy(frame + 2 * ADDRESS, &type, sizeof(type));
}

int main(int argc, char **argv)
{
	static unsigned char frame[MOST];
	struct sockaddr_ll to = { .sll_family = AF_PACKET };
	struct ifreq request = { 0 };
	unsigned long sent = 0, refused = 0;
	time_t end;
	int out;

	if (argc < 3)
		return 2;
	out = socket(AF_PACKET, SOCK_RAW, 0);
	snprintf(request.ifr_name, IFNAMSIZ, "%s", argv[1]);
	if (out < 0 || ioctl(out, SIOCGIFHWADDR, &request))
		give_up(argv[1]);
	memcpy(mine, request.ifr_hwaddr.sa_data, ADDRESS);
	memcpy(foreign, mine, ADDRESS);
	if (argc > 3 && sscanf(argv[3], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &foreign[0], &foreign[1],
			       &foreign[2], &foreign[3], &foreign[4], &foreign[5]) != ADDRESS)
		return 2;
	to.sll_ifindex = if_nametoindex(argv[1]);
	for (end = time(NULL) + atoi(argv[2]); time(NULL) < end;) {
		size_t length = any() % 2 ? 60 : HEAD + any() % (MOST - HEAD + 1);

		fill(frame);
		if (sendto(out, frame, length, 0, (struct sockaddr *)&to, sizeof(to)) < 0)
			refused++;
		else
			sent++;
	}
	printf("attack-bell: done, %lu frames, %lu refused here\n", sent, refused);
	return 0;
}
