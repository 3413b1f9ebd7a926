/* replication.c: the end of a stream, with a server that does not stop sending. libpq is the test's own. */
#include "tap.h"

#include <unistd.h>

#include "core/clock.h"
#include "feed/replication.h"

static int readable[2];     /* a pipe with a byte in it */
static unsigned calls, end; /* of PQgetCopyData(); after how many of them the server has ended, 0: never */

int PQsetnonblocking(PGconn *connection, int on)
{
	(void)connection, (void)on;
	return 0;
}

int PQsocket(const PGconn *connection)
{
	(void)connection;
	return readable[0];
}

int PQputCopyEnd(PGconn *connection, const char *error)
{
	(void)connection, (void)error;
	return 1;
}

int PQflush(PGconn *connection)
{
	(void)connection;
	return 0;
}

int PQconsumeInput(PGconn *connection)
{
	(void)connection;
	return 1;
}

int PQgetCopyData(PGconn *connection, char **ret_copy, int async)
{
	(void)connection, (void)async;
	if (end != 0 && calls >= end)
		return -1;
	if (calls++ % 3 == 2)
		return 0;
	*ret_copy = malloc(1);
	return 1;
}

int main(void)
{
	static struct ring_live live;
	static struct catalog catalog;
	struct replication *replication;

	alarm(60);
	if (pipe(readable) != 0 || write(readable[1], "x", 1) != 1)
		return 1;
	replication = replication_open((struct connection){0}, NULL, &live, &catalog, 0, 0);
	end = 10;
	replication_end(replication, 60 * SECOND);
	is_u64(calls, 10, "what the server still sends is read to its end");
	end = 0;
	replication_end(replication, 10 * MILLISECOND);
	ok(calls > 10, "but not for longer than asked, however much comes");
	replication_close(replication);
	return tap_end();
}
