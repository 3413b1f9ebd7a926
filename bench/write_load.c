/*
 * write_load.c: writes rows into PostgreSQL at a given rate, or messages into nchan.
 *
 * In: where to, how often (--rate commits a second, 0: as fast as it goes), how many rows for each commit,
 * how large. Out: one line of JSON at the end: commits and seconds. Each row carries "seq", counted from
 * --first, and "sent_us", the time just before the command that commits it. Ends after --seconds or with
 * SIGTERM.
 *
 * The tables are bench_0 .. bench_<tables - 1> (seq bigint, sent_us bigint, pad text), written in turn.
 */
#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "measure.h"

enum { PAYLOAD_MAX = 4 << 20, PIPELINE = 32 };

static struct {
	const char *conninfo, *publish_path;
	int publish_port;
	double rate;
	int rows, payload, tables;
	double seconds;
	int64_t first;
} options = {.rows = 1, .payload = 200, .tables = 1, .seconds = 3600, .first = 1};

static volatile sig_atomic_t stopped;
static char *pad;

static void on_signal(int signal)
{
	(void)signal;
	stopped = 1;
}

static void fail(const char *what)
{
	fprintf(stderr, "write_load: %s\n", what);
	exit(1);
}

/*
 * ---- PostgreSQL
 */
static PGconn *connection;

static void start_postgres(void)
{
	connection = PQconnectdb(options.conninfo);
	if (PQstatus(connection) != CONNECTION_OK)
		fail(PQerrorMessage(connection));
	for (int table = 0; table < options.tables; table++) {
		char name[32], sql[256];
		snprintf(name, sizeof(name), "insert_%d", table);
		snprintf(sql, sizeof(sql),
				 "INSERT INTO bench_%d (seq, sent_us, pad) SELECT $1::bigint + i, $2::bigint, $3::text"
				 " FROM generate_series(0, $4::int - 1) i",
				 table);
		PGresult *result = PQprepare(connection, name, sql, 4, NULL);
		if (PQresultStatus(result) != PGRES_COMMAND_OK)
			fail(PQerrorMessage(connection));
		PQclear(result);
	}
}

static void write_postgres(int64_t seq)
{
	char name[32], first[24], sent[24], rows[24];
	const char *values[] = {first, sent, pad, rows};

	snprintf(name, sizeof(name), "insert_%d", (int)((seq - options.first) / options.rows % options.tables));
	snprintf(first, sizeof(first), "%" PRId64, seq);
	snprintf(rows, sizeof(rows), "%d", options.rows);
	snprintf(sent, sizeof(sent), "%" PRId64, realtime_us());
	PGresult *result = PQexecPrepared(connection, name, 4, values, NULL, NULL, 0);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		fail(PQerrorMessage(connection));
	PQclear(result);
}

/*
 * ---- nchan: a POST for each message, PIPELINE of them under way at once when there is no rate
 */
static int publish_fd;
static int publish_waiting;

static void start_publishing(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
								  .sin_port = htons((uint16_t)options.publish_port),
								  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int one = 1;
	publish_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (publish_fd < 0 || connect(publish_fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		fail("cannot connect to the publisher's port");
	setsockopt(publish_fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

/* Counts answers by their status lines. None is split: each answer is small and comes in one piece. */
static void take_answers(int until)
{
	static char buffer[64 * 1024];
	while (publish_waiting > until) {
		ssize_t size = recv(publish_fd, buffer, sizeof(buffer), 0);
		if (size <= 0)
			fail("the publisher closed the connection");
		for (const char *at = buffer; (at = memmem(at, (size_t)(buffer + size - at), "HTTP/1.1 ", 9)) != NULL;
			 at += 9) {
			if (at[9] != '2')
				fail("the publisher refused a message");
			publish_waiting--;
		}
	}
}

static void write_publisher(int64_t seq)
{
	static char request[PAYLOAD_MAX + 1024];
	char body[128];
	int body_size =
		snprintf(body, sizeof(body), "{\"seq\": %" PRId64 ", \"sent_us\": %" PRId64 ", \"pad\": \"", seq,
				 realtime_us());
	int size =
		snprintf(request, sizeof(request),
				 "POST %s HTTP/1.1\r\nHost: bench\r\nAccept: text/plain\r\nContent-Length: %d\r\n\r\n%s%s\"}",
				 options.publish_path, body_size + options.payload + 2, body, pad);
	if (send(publish_fd, request, (size_t)size, MSG_NOSIGNAL) != size)
		fail("the publisher takes nothing");
	publish_waiting++;
	take_answers(options.rate > 0 ? 0 : PIPELINE - 1);
}

/*
 * ---- the rate
 */
static uint64_t run(void)
{
	int64_t start = clock_us(CLOCK_MONOTONIC), end = start + (int64_t)(options.seconds * 1e6);
	int64_t seq = options.first;
	uint64_t commits = 0;

	for (; !stopped && clock_us(CLOCK_MONOTONIC) < end; commits++, seq += options.rows) {
		if (options.rate > 0)
			sleep_until_us(start + (int64_t)((double)commits / options.rate * 1e6));
		if (options.conninfo != NULL)
			write_postgres(seq);
		else
			write_publisher(seq);
	}
	if (options.conninfo == NULL)
		take_answers(0);
	return commits;
}

static void take_options(int argc, char **argv)
{
	static const struct option names[] = {
		{"conninfo", required_argument, NULL, 'd'},     {"publish-port", required_argument, NULL, 'P'},
		{"publish-path", required_argument, NULL, 'u'}, {"rate", required_argument, NULL, 'r'},
		{"rows", required_argument, NULL, 'n'},         {"payload", required_argument, NULL, 's'},
		{"tables", required_argument, NULL, 't'},       {"seconds", required_argument, NULL, 'e'},
		{"first", required_argument, NULL, 'f'},        {NULL, 0, NULL, 0}};
	int name;

	while ((name = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (name) {
		case 'd':
			options.conninfo = optarg;
			break;
		case 'P':
			options.publish_port = atoi(optarg);
			break;
		case 'u':
			options.publish_path = optarg;
			break;
		case 'r':
			options.rate = atof(optarg);
			break;
		case 'n':
			options.rows = atoi(optarg);
			break;
		case 's':
			options.payload = atoi(optarg);
			break;
		case 't':
			options.tables = atoi(optarg);
			break;
		case 'e':
			options.seconds = atof(optarg);
			break;
		case 'f':
			options.first = atoll(optarg);
			break;
		default:
			exit(2);
		}
	}
	if (options.payload > PAYLOAD_MAX || options.rows < 1 || options.tables < 1)
		exit(2);
}

int main(int argc, char **argv)
{
	take_options(argc, argv);
	signal(SIGTERM, on_signal);
	pad = malloc((size_t)options.payload + 1);
	if (pad == NULL)
		return 1;
	memset(pad, 'x', (size_t)options.payload);
	pad[options.payload] = 0;
	if (options.conninfo != NULL)
		start_postgres();
	else
		start_publishing();
	int64_t start = clock_us(CLOCK_MONOTONIC);
	uint64_t commits = run();
	printf("{\"commits\":%" PRIu64 ",\"seconds\":%.6f}\n", commits,
		   (double)(clock_us(CLOCK_MONOTONIC) - start) / 1e6);
	return 0;
}
