/*
 * raw_client.c: the least that a consumer of logical replication can do: libpq, pgoutput as text, thrown
 * away.
 *
 * In: a connection, a slot, and where to end (--end LSN) or for how long (--seconds). Out: one line of JSON:
 * when it began and ended, messages, bytes, its CPU time, and how late the column "sent_us" of inserted rows
 * came. What it takes is what PostgreSQL itself costs: the product is compared with it.
 */
#include <endian.h>
#include <getopt.h>
#include <poll.h>
#include <stdbool.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "measure.h"

enum { XLOGDATA_HEADER = 25, KEEPALIVE_SIZE = 18, STATUS_SIZE = 34, FEEDBACK_US = 1000000 };

static struct {
	const char *conninfo, *slot, *publication;
	uint64_t end_lsn;
	int64_t seconds;
	int column; /* number of "sent_us" in the table, from 0; -1: no latencies */
} options = {.slot = "raw", .publication = "changefeed", .end_lsn = UINT64_MAX, .seconds = 600, .column = -1};

static struct {
	uint64_t messages, bytes, received_lsn;
	bool reply_asked;
	struct histogram latency;
} raw;

static void fail(PGconn *connection)
{
	fprintf(stderr, "raw_client: %s", PQerrorMessage(connection));
	exit(1);
}

static uint64_t read_u64(const char *at)
{
	uint64_t big_endian;
	memcpy(&big_endian, at, sizeof(big_endian));
	return be64toh(big_endian);
}

static void put_u64(char *at, uint64_t number)
{
	uint64_t big_endian = htobe64(number);
	memcpy(at, &big_endian, sizeof(big_endian));
}

/* Insert: 'I', oid, 'N', number of columns, then for each a kind, and for 't' a size and the text. */
static void take_insert(const char *at, const char *end)
{
	at += 1 + 4 + 1 + 2;
	for (int column = 0; at < end; column++) {
		uint32_t size = 0;
		if (*at++ == 't') {
			memcpy(&size, at, sizeof(size));
			size = be32toh(size);
			at += 4;
			if (column == options.column) {
				histogram_add(&raw.latency, realtime_us() - strtoll(at, NULL, 10));
				return;
			}
		}
		at += size;
	}
}

/* Returns false at the end. */
static bool take_message(const char *copy, int size)
{
	if (copy[0] == 'k' && size >= KEEPALIVE_SIZE) {
		uint64_t lsn = read_u64(copy + 1);
		raw.received_lsn = lsn > raw.received_lsn ? lsn : raw.received_lsn;
		raw.reply_asked = raw.reply_asked || copy[KEEPALIVE_SIZE - 1] != 0;
		return lsn < options.end_lsn;
	}
	raw.messages++;
	raw.bytes += (uint64_t)size;
	uint64_t lsn = read_u64(copy + 1);
	raw.received_lsn = lsn > raw.received_lsn ? lsn : raw.received_lsn;
	if (copy[XLOGDATA_HEADER] == 'I' && options.column >= 0)
		take_insert(copy + XLOGDATA_HEADER, copy + size);
	/* Commit: flags, LSN of the commit, end of the transaction */
	return copy[XLOGDATA_HEADER] != 'C' || read_u64(copy + XLOGDATA_HEADER + 10) < options.end_lsn;
}

static void send_status(PGconn *connection)
{
	char status[STATUS_SIZE] = {'r'};
	put_u64(status + 1, raw.received_lsn);
	put_u64(status + 9, raw.received_lsn);
	put_u64(status + 17, raw.received_lsn);
	if (PQputCopyData(connection, status, sizeof(status)) <= 0 || PQflush(connection) != 0)
		fail(connection);
	raw.reply_asked = false;
}

static PGconn *start(void)
{
	char conninfo[1024], command[512];

	snprintf(conninfo, sizeof(conninfo), "%s replication=database", options.conninfo);
	PGconn *connection = PQconnectdb(conninfo);
	if (PQstatus(connection) != CONNECTION_OK)
		fail(connection);
	snprintf(command, sizeof(command),
			 "START_REPLICATION SLOT %s LOGICAL 0/0 (proto_version '1', publication_names '%s')",
			 options.slot, options.publication);
	PGresult *result = PQexec(connection, command);
	if (PQresultStatus(result) != PGRES_COPY_BOTH)
		fail(connection);
	PQclear(result);
	return connection;
}

/* Takes what has come. Returns false at the end. */
static bool take_all(PGconn *connection)
{
	char *copy;
	int size;

	if (!PQconsumeInput(connection))
		fail(connection);
	while ((size = PQgetCopyData(connection, &copy, 1)) > 0) {
		bool more = take_message(copy, size);
		PQfreemem(copy);
		if (!more)
			return false;
	}
	if (size < 0)
		fail(connection);
	return true;
}

static void run(PGconn *connection)
{
	int64_t now = clock_us(CLOCK_MONOTONIC), end = now + options.seconds * 1000000, feedback_at = 0;

	while (now < end && take_all(connection)) {
		now = clock_us(CLOCK_MONOTONIC);
		if (now >= feedback_at || raw.reply_asked) {
			send_status(connection);
			feedback_at = now + FEEDBACK_US;
		}
		struct pollfd fd = {.fd = PQsocket(connection), .events = POLLIN};
		poll(&fd, 1, 100);
		now = clock_us(CLOCK_MONOTONIC);
	}
}

static void take_options(int argc, char **argv)
{
	static const struct option names[] = {{"conninfo", required_argument, NULL, 'd'},
										  {"slot", required_argument, NULL, 's'},
										  {"publication", required_argument, NULL, 'p'},
										  {"end", required_argument, NULL, 'e'},
										  {"seconds", required_argument, NULL, 't'},
										  {"column", required_argument, NULL, 'c'},
										  {NULL, 0, NULL, 0}};
	unsigned high, low;
	int name;

	while ((name = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (name) {
		case 'd':
			options.conninfo = optarg;
			break;
		case 's':
			options.slot = optarg;
			break;
		case 'p':
			options.publication = optarg;
			break;
		case 't':
			options.seconds = atoi(optarg);
			break;
		case 'c':
			options.column = atoi(optarg);
			break;
		case 'e':
			if (sscanf(optarg, "%X/%X", &high, &low) != 2)
				exit(2);
			options.end_lsn = (uint64_t)high << 32 | low;
			break;
		default:
			exit(2);
		}
	}
}

int main(int argc, char **argv)
{
	take_options(argc, argv);
	int64_t started = realtime_us();
	PGconn *connection = start();
	puts("ready");
	fflush(stdout);
	run(connection);
	int64_t ended = realtime_us();
	send_status(connection);
	printf("{\"started_us\":%" PRId64 ",\"ended_us\":%" PRId64 ",\"messages\":%" PRIu64 ",\"bytes\":%" PRIu64
		   ",\"own_cpu_us\":%" PRId64 ",",
		   started, ended, raw.messages, raw.bytes, process_cpu_us(getpid()));
	histogram_print(&raw.latency, stdout);
	puts("}");
	PQfinish(connection);
	return 0;
}
