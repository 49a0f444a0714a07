/*
 * TCP as programs have it: large pieces one way, or a byte there and back.
 *
 *   stream serve PORT            takes what is sent and answers what is asked, until it is
 *                                killed
 *   stream send ADDRESS PORT     sends standard input; fails unless all of it arrived
 *   stream ask ADDRESS PORT N    N times a byte there and back
 *
 * The first byte of a connection says what it is for. Who sends is told in the end how many
 * bytes came.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SENDS 's'
#define ASKS 'a'

static char piece[64 << 10];

static void fail(const char *what)
{
	fprintf(stderr, "stream: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Small answers do not wait for more. */
static void at_once(int socket)
{
	int one = 1;

	if (setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)))
		fail("TCP_NODELAY");
}

/* Reads until there are `size` bytes or the end; how many there were. */
static size_t fill(int from, void *into, size_t size)
{
	size_t got = 0;

	while (got < size) {
		ssize_t more = read(from, (char *)into + got, size - got);

		if (more < 0)
			fail("read");
		if (more == 0)
			break;
		got += more;
	}
	return got;
}

static void put(int to, const void *bytes, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t more = write(to, (const char *)bytes + done, size - done);

		if (more < 0)
			fail("write");
		done += more;
	}
}

static struct sockaddr_in address(const char *host, const char *port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };

	if (!inet_aton(host, &at.sin_addr))
		fail(host);
	return at;
}

static int reach(const char *host, const char *port, char what)
{
	struct sockaddr_in at = address(host, port);
	int peer = socket(AF_INET, SOCK_STREAM, 0);

	if (peer < 0 || connect(peer, (struct sockaddr *)&at, sizeof(at)))
		fail("connect");
	at_once(peer);
	put(peer, &what, 1);
	return peer;
}

/* One connection, from its first byte to its end. */
static void answer(int peer)
{
	uint64_t came = 0;
	ssize_t got;
	char what;

	if (fill(peer, &what, 1) != 1)
		return;
	while ((got = read(peer, piece, sizeof(piece))) > 0) {
		came += got;
		if (what == ASKS)
			put(peer, piece, got);
	}
	if (what == SENDS)
		put(peer, &came, sizeof(came));
}

static _Noreturn void serve(const char *port)
{
	struct sockaddr_in at = address("0.0.0.0", port);
	int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) || listen(listener, 1))
		fail("listen");
	for (;;) {
		int peer = accept(listener, NULL, NULL);

		if (peer < 0)
			fail("accept");
		at_once(peer);
		answer(peer);
		close(peer);
	}
}

static int send_all(const char *host, const char *port)
{
	int peer = reach(host, port, SENDS);
	uint64_t sent = 0, came = 0;
	size_t got;

	while ((got = fill(0, piece, sizeof(piece))) > 0) {
		put(peer, piece, got);
		sent += got;
	}
	shutdown(peer, SHUT_WR);
	if (fill(peer, &came, sizeof(came)) != sizeof(came) || came != sent) {
		fprintf(stderr, "stream: %llu of %llu bytes came\n", (unsigned long long)came,
			(unsigned long long)sent);
		return 1;
	}
	return 0;
}

static int ask(const char *host, const char *port, long times)
{
	int peer = reach(host, port, ASKS);
	char byte = 'x';

	while (times-- > 0) {
		put(peer, &byte, 1);
		if (fill(peer, &byte, 1) != 1) {
			fprintf(stderr, "stream: no answer\n");
			return 1;
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "serve"))
		serve(argv[2]);
	if (argc == 4 && !strcmp(argv[1], "send"))
		return send_all(argv[2], argv[3]);
	if (argc == 5 && !strcmp(argv[1], "ask"))
		return ask(argv[2], argv[3], atol(argv[4]));
	fprintf(stderr, "usage: stream {serve PORT | send ADDRESS PORT | ask ADDRESS PORT N}\n");
	return 2;
}
