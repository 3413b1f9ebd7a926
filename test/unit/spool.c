/* spool.c: what sockets are sent from a file in memory stays what it was, whatever becomes of the file. */
#include "http/spool.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tap.h"

enum { SIZE = 40000 };

static char content[SIZE];

static struct bytes filled_with(char c)
{
	memset(content, c, SIZE);
	return (struct bytes){content, SIZE};
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
	int spool = spool_open();
	ok(spool >= 0 && spool_write(spool, 0, filled_with('a')), "bytes are written");
	is_u64(spool_send(spool, 100, SIZE - 100, sender), SIZE - 100, "and sent from the middle on");
	close(spool);
	for (char c = 'b'; c <= 'z'; c++) {
		int other = spool_open();
		spool_write(other, 0, filled_with(c));
		close(other);
	}
	ok(receives(receiver, SIZE - 100, 'a'), "what was sent stays what it was when the spool is closed");
}

/* As an open segment is sent: some of it, then what was appended to it, in the same page. */
static void test_grows(int sender, int receiver)
{
	int spool = spool_open();
	bool wrote = spool_write(spool, 0, (struct bytes){filled_with('a').data, 100});
	size_t sent = spool_send(spool, 0, 100, sender);
	wrote = spool_write(spool, 100, (struct bytes){filled_with('b').data, 100}) && wrote;
	sent += spool_send(spool, 100, 100, sender);
	ok(wrote && sent == 200, "a spool is written and sent piece by piece");
	ok(receives(receiver, 100, 'a') && receives(receiver, 100, 'b'), "each piece arrives");
	close(spool);
}

static void test_refused(int sender, int receiver)
{
	int spool = spool_open();
	uint64_t sent = 0;
	size_t took;

	spool_write(spool, 0, filled_with('a'));
	do {
		took = spool_send(spool, 0, SIZE, sender);
		sent += took;
	} while (took == SIZE);
	ok(sent > 0, "a socket takes what it has room for: %" PRIu64 " bytes", sent);
	is_u64(spool_send(spool, 0, SIZE, sender), 0, "and nothing when it is full");
	close(receiver);
	is_u64(spool_send(spool, 0, SIZE, sender), 0, "nor when the peer is gone");
	close(spool);
}

int main(void)
{
	int sender, receiver;

	signal(SIGPIPE, SIG_IGN);
	connect_pair(&sender, &receiver);
	test_sent_stays(sender, receiver);
	test_grows(sender, receiver);
	test_refused(sender, receiver);
	close(sender);
	return tap_end();
}
