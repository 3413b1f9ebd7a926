/* spool.c: what sockets are sent from a file in memory stays what it was, whatever becomes of its room. */
#include "http/spool.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tap.h"

enum { SIZE = 40000 };

static struct spool spool;
static char content[SIZE];

static struct bytes filled_with(char c)
{
	memset(content, c, SIZE);
	return (struct bytes){content, SIZE};
}

static uint64_t memory(void)
{
	struct stat stat;
	return fstat(spool.fd, &stat) == 0 ? (uint64_t)stat.st_blocks * 512 : UINT64_MAX;
}

/* A connection over TCP: what is sent waits in the kernel until it is read. */
static void connect_pair(int *ret_sender, int *ret_receiver)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	*ret_receiver = socket(AF_INET, SOCK_STREAM, 0);
	if (listen(listener, 1) != 0 || getsockname(listener, (struct sockaddr *)&address, &size) != 0 ||
		connect(*ret_receiver, (struct sockaddr *)&address, size) != 0)
		abort();
	*ret_sender = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	close(listener);
}

static bool receives(int receiver, size_t size, char c)
{
	static char got[SIZE];
	if (recv(receiver, got, size, MSG_WAITALL) != (ssize_t)size)
		return false;
	for (size_t i = 0; i < size; i++) {
		if (got[i] != c)
			return false;
	}
	return true;
}

static void test_sent_stays(int sender, int receiver)
{
	uint64_t at = spool_reserve(&spool, SIZE);
	ok(spool_write(&spool, at, filled_with('a')), "bytes are written");
	is_u64(spool_send(&spool, at + 100, SIZE - 100, sender), SIZE - 100, "and sent from the middle on");
	spool_drop(&spool, at, SIZE);
	is_u64(memory(), 0, "what is dropped takes no memory");
	for (char c = 'b'; c <= 'z'; c++) {
		uint64_t other = spool_reserve(&spool, SIZE);
		spool_write(&spool, other, filled_with(c));
		spool_drop(&spool, other, SIZE);
	}
	ok(receives(receiver, SIZE - 100, 'a'), "what was sent before is what the receiver gets");
}

/* As an open segment is sent: some of it, then what was appended to it, in the same page. */
static void test_grows(int sender, int receiver)
{
	uint64_t at = spool_reserve(&spool, SIZE);
	bool wrote = spool_write(&spool, at, (struct bytes){filled_with('a').data, 100});
	size_t sent = spool_send(&spool, at, 100, sender);
	wrote = spool_write(&spool, at + 100, (struct bytes){filled_with('b').data, 100}) && wrote;
	sent += spool_send(&spool, at + 100, 100, sender);
	ok(wrote && sent == 200, "room is written and sent piece by piece");
	ok(receives(receiver, 100, 'a') && receives(receiver, 100, 'b'), "each piece arrives");
	uint64_t next = spool_reserve(&spool, 1);
	ok(next >= at + SIZE, "room does not overlap");
	spool_write(&spool, next, BYTES("n"));
	spool_drop(&spool, at, SIZE);
	is_u64(spool_send(&spool, next, 1, sender), 1, "what is dropped takes nothing else with it");
	ok(receives(receiver, 1, 'n'), "which arrives, too");
	spool_drop(&spool, next, 1);
}

static void test_refused(int sender, int receiver)
{
	uint64_t at = spool_reserve(&spool, SIZE), sent = 0;
	size_t took;

	spool_write(&spool, at, filled_with('a'));
	do {
		took = spool_send(&spool, at, SIZE, sender);
		sent += took;
	} while (took == SIZE);
	ok(sent > 0, "a socket takes what it has room for: %" PRIu64 " bytes", sent);
	is_u64(spool_send(&spool, at, SIZE, sender), 0, "and nothing when it is full");
	close(receiver);
	is_u64(spool_send(&spool, at, SIZE, sender), 0, "nor when the peer is gone");
	spool_drop(&spool, at, SIZE);
	is_u64(memory(), 0, "nothing is left");
}

int main(void)
{
	int sender, receiver;

	signal(SIGPIPE, SIG_IGN);
	spool_init(&spool);
	ok(spool.fd >= 0, "there is a spool");
	connect_pair(&sender, &receiver);
	test_sent_stays(sender, receiver);
	test_grows(sender, receiver);
	test_refused(sender, receiver);
	close(sender);
	return tap_end();
}
