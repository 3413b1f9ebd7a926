/*
 * load_client.c: thousands of Server-Sent Events clients in one process.
 *
 * In: a server, a path, a number of connections. Out: a line of JSON for each command `mark` on stdin: what
 * came since the start, how late since the last mark, and the CPU time of the processes named by --pid.
 * `ready` is printed when every stream has been answered. With --expect it ends by itself when each parsed
 * stream has so many events, with a last mark. --spread N puts the number of the connection, modulo N, behind
 * the path.
 *
 * Streams are parsed as the WHATWG's specification says (lines, fields, dispatch at the empty line), through
 * chunked transfer coding. Gaps and duplicates are found by the number "seq" in the data, lateness by
 * "sent_us". With --parse N only the first N streams are parsed, and of the others the kernel drops the bytes
 * and tells how many (MSG_TRUNC, tcp(7)): at millions of events a second the client would be what is
 * measured.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "measure.h"

enum {
	RECEIVE_SIZE = 256 * 1024,
	EVENTS_SIZE = 512,
	CONNECTING_MAX = 128,
	PIDS_MAX = 16,
	LINE_MAX_SIZE = 4 << 20
};

enum chunk_state { CHUNK_NONE, CHUNK_SIZE, CHUNK_DATA, CHUNK_END };

struct text {
	char *data;
	size_t size, capacity;
};

struct connection {
	int fd;
	bool parsed;
	bool answered; /* the head of the response is complete */
	enum chunk_state chunk_state;
	uint64_t chunk_left;
	struct text line; /* the part of a line that has come */
	char event;       /* first letter of the event's name, 0: none */
	bool has_data;
	int64_t seq; /* of the last event, -1 before the first */
	int64_t event_seq, event_sent_us;
	uint64_t events;
};

static struct {
	const char *host, *path, *accept;
	int port;
	int count;
	int parse;
	int spread;
	uint64_t expect;
	int pids[PIDS_MAX];
	int pid_count;
} options = {.host = "127.0.0.1", .path = "/", .accept = "text/event-stream", .count = 1, .parse = -1};

static struct {
	struct connection *connections;
	int epoll_fd;
	int opened, answered, closed, finished;
	uint64_t bytes, parsed_bytes, events, gaps, duplicates, warnings, resets, refused;
	int64_t first_us, last_us;
	struct histogram latency;
} load;

static void fail(const char *what)
{
	fprintf(stderr, "load_client: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void text_append(struct text *text, const char *data, size_t size)
{
	if (text->size + size > LINE_MAX_SIZE) {
		errno = EMSGSIZE;
		fail("a line");
	}
	if (text->size + size > text->capacity) {
		text->capacity = (text->size + size) * 2;
		text->data = realloc(text->data, text->capacity);
		if (text->data == NULL)
			fail("memory");
	}
	memcpy(text->data + text->size, data, size);
	text->size += size;
}

/*
 * ---- Server-Sent Events
 */
static void dispatch_change(struct connection *connection, int64_t now)
{
	if (connection->event_seq >= 0 && connection->seq >= 0) {
		if (connection->event_seq <= connection->seq)
			load.duplicates++;
		else
			load.gaps += (uint64_t)(connection->event_seq - connection->seq - 1);
	}
	if (connection->event_seq > connection->seq)
		connection->seq = connection->event_seq;
	if (connection->event_sent_us >= 0)
		histogram_add(&load.latency, now - connection->event_sent_us);
	if (load.events++ == 0)
		load.first_us = now;
	load.last_us = now;
	if (++connection->events == options.expect)
		load.finished++;
}

static void take_line(struct connection *connection, const char *line, size_t size, int64_t now)
{
	if (size > 0 && line[size - 1] == '\r')
		size--;
	if (size == 0) {
		if (connection->has_data && connection->event == 'w')
			load.warnings++;
		else if (connection->has_data && connection->event == 'r')
			load.resets++;
		else if (connection->has_data)
			dispatch_change(connection, now);
		connection->has_data = false;
		connection->event = 0;
		return;
	}
	if (size > 6 && memcmp(line, "event:", 6) == 0) {
		connection->event = line[6] == ' ' && size > 7 ? line[7] : line[6];
	} else if (size > 5 && memcmp(line, "data:", 5) == 0) {
		connection->has_data = true;
		connection->event_seq = member_number(line, size, "\"seq\":");
		connection->event_sent_us = member_number(line, size, "\"sent_us\":");
	}
}

static void take_events(struct connection *connection, const char *data, size_t size, int64_t now)
{
	while (size > 0) {
		const char *end = memchr(data, '\n', size);
		if (end == NULL) {
			text_append(&connection->line, data, size);
			return;
		}
		size_t length = (size_t)(end - data);
		if (connection->line.size == 0) {
			take_line(connection, data, length, now);
		} else {
			text_append(&connection->line, data, length);
			take_line(connection, connection->line.data, connection->line.size, now);
			connection->line.size = 0;
		}
		data += length + 1;
		size -= length + 1;
	}
}

/*
 * ---- HTTP/1.1
 */

/* Takes the line that gives a chunk's size, or ends a chunk. Returns the bytes of it. */
static size_t take_chunk_line(struct connection *connection, const char *data, size_t size)
{
	const char *end = memchr(data, '\n', size);
	size_t length = end == NULL ? size : (size_t)(end - data) + 1;

	/* the size is in `line` only between chunks, and a line of an event only inside of them: kept apart */
	for (size_t i = 0; connection->chunk_state == CHUNK_SIZE && i < length; i++) {
		char c = data[i];
		int digit = c >= '0' && c <= '9'                 ? c - '0'
					: (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
														 : -1;
		if (digit >= 0)
			connection->chunk_left = connection->chunk_left * 16 + (uint64_t)digit;
	}
	if (end != NULL)
		connection->chunk_state = connection->chunk_state == CHUNK_SIZE ? CHUNK_DATA : CHUNK_SIZE;
	return length;
}

static void take_body(struct connection *connection, const char *data, size_t size, int64_t now)
{
	if (connection->chunk_state == CHUNK_NONE) {
		take_events(connection, data, size, now);
		return;
	}
	while (size > 0) {
		size_t taken;
		if (connection->chunk_state == CHUNK_DATA) {
			taken = size < connection->chunk_left ? size : (size_t)connection->chunk_left;
			take_events(connection, data, taken, now);
			connection->chunk_left -= taken;
			if (connection->chunk_left == 0)
				connection->chunk_state = CHUNK_END;
		} else {
			taken = take_chunk_line(connection, data, size);
		}
		data += taken;
		size -= taken;
	}
}

/* Collects the head of the response in `line`. Returns the bytes of it. */
static size_t take_head(struct connection *connection, const char *data, size_t size)
{
	struct text *head = &connection->line;
	size_t before = head->size;

	text_append(head, data, size);
	const char *end = memmem(head->data, head->size, "\r\n\r\n", 4);
	if (end == NULL)
		return size;
	size_t length = (size_t)(end - head->data) + 4;
	if (head->size < 12 || memcmp(head->data + 9, "200", 3) != 0)
		load.refused++;
	head->data[length - 1] = 0;
	if (strcasestr(head->data, "\ntransfer-encoding: chunked") != NULL)
		connection->chunk_state = CHUNK_SIZE;
	free(head->data);
	*head = (struct text){0};
	connection->answered = true;
	load.answered++;
	return length - before;
}

/*
 * ---- connections
 */
static int write_request(char *out, size_t size, int number)
{
	char suffix[16] = "";

	if (options.spread > 0)
		snprintf(suffix, sizeof(suffix), "%d", number % options.spread);
	return snprintf(out, size, "GET %s%s HTTP/1.1\r\nHost: bench\r\nAccept: %s\r\n\r\n", options.path, suffix,
					options.accept);
}

static void open_connection(int number)
{
	struct connection *connection = &load.connections[number];
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
	char request[1024];

	*connection = (struct connection){.parsed = number < options.parse, .seq = -1};
	if (inet_pton(AF_INET, options.host, &address.sin_addr) != 1)
		fail(options.host);
	connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connection->fd < 0 || connect(connection->fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		fail("connect");
	int size = write_request(request, sizeof(request), number);
	if (send(connection->fd, request, (size_t)size, MSG_NOSIGNAL) != size ||
		epoll_ctl(load.epoll_fd, EPOLL_CTL_ADD, connection->fd, &event) != 0)
		fail("request");
	load.opened++;
}

static void receive(struct connection *connection)
{
	static char buffer[RECEIVE_SIZE];
	bool drop = connection->answered && !connection->parsed;
	ssize_t size = recv(connection->fd, buffer, sizeof(buffer), MSG_DONTWAIT | (drop ? MSG_TRUNC : 0));
	size_t head = 0;

	if (size < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (size <= 0) {
		close(connection->fd);
		connection->fd = -1;
		load.closed++;
		return;
	}
	load.bytes += (uint64_t)size;
	if (!connection->parsed && connection->answered)
		return;
	if (!connection->answered)
		head = take_head(connection, buffer, (size_t)size);
	if (connection->parsed) {
		load.parsed_bytes += (uint64_t)size;
		take_body(connection, buffer + head, (size_t)size - head, realtime_us());
	}
}

static void open_more(void)
{
	while (load.opened < options.count && load.opened - load.answered - load.closed < CONNECTING_MAX)
		open_connection(load.opened);
}

/*
 * ---- the driver's side
 */
static void print_mark(void)
{
	printf("{\"time_us\":%" PRId64 ",\"answered\":%d,\"closed\":%d,\"refused\":%" PRIu64 ",\"bytes\":%" PRIu64
		   ",\"parsed_bytes\":%" PRIu64 ",\"events\":%" PRIu64 ",\"gaps\":%" PRIu64 ",\"duplicates\":%" PRIu64
		   ",\"warnings\":%" PRIu64 ",\"resets\":%" PRIu64 ",\"first_us\":%" PRId64 ",\"last_us\":%" PRId64
		   ",",
		   realtime_us(), load.answered, load.closed, load.refused, load.bytes, load.parsed_bytes,
		   load.events, load.gaps, load.duplicates, load.warnings, load.resets, load.first_us, load.last_us);
	histogram_print(&load.latency, stdout);
	printf(",\"cpu_us\":[");
	for (int i = 0; i < options.pid_count; i++)
		printf("%s%" PRId64, i > 0 ? "," : "", process_cpu_us(options.pids[i]));
	printf("],\"own_cpu_us\":%" PRId64 "}\n", process_cpu_us(getpid()));
	fflush(stdout);
	memset(&load.latency, 0, sizeof(load.latency));
}

/* Returns false at the end of stdin. */
static bool take_command(void)
{
	char command[64];
	ssize_t size = read(STDIN_FILENO, command, sizeof(command));

	if (size <= 0)
		return false;
	for (ssize_t i = 0; i < size; i++) {
		if (command[i] == '\n')
			print_mark();
	}
	return true;
}

static void run(void)
{
	struct epoll_event events[EVENTS_SIZE];
	struct epoll_event input = {.events = EPOLLIN, .data.ptr = NULL};
	bool ready = false;

	if (epoll_ctl(load.epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &input) != 0)
		fail("stdin");
	for (;;) {
		open_more();
		if (!ready && load.answered == options.count) {
			ready = true;
			puts("ready");
			fflush(stdout);
		}
		int count = epoll_wait(load.epoll_fd, events, EVENTS_SIZE, -1);
		for (int i = 0; i < count; i++) {
			if (events[i].data.ptr != NULL)
				receive(events[i].data.ptr);
			else if (!take_command())
				return;
		}
		if (options.expect > 0 && load.finished == options.parse) {
			print_mark();
			return;
		}
	}
}

static void take_options(int argc, char **argv)
{
	static const struct option names[] = {{"host", required_argument, NULL, 'h'},
										  {"port", required_argument, NULL, 'p'},
										  {"path", required_argument, NULL, 'u'},
										  {"connections", required_argument, NULL, 'n'},
										  {"parse", required_argument, NULL, 'P'},
										  {"expect", required_argument, NULL, 'e'},
										  {"pid", required_argument, NULL, 'c'},
										  {"spread", required_argument, NULL, 's'},
										  {NULL, 0, NULL, 0}};
	int name;

	while ((name = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (name) {
		case 'h':
			options.host = optarg;
			break;
		case 'p':
			options.port = atoi(optarg);
			break;
		case 'u':
			options.path = optarg;
			break;
		case 'n':
			options.count = atoi(optarg);
			break;
		case 'P':
			options.parse = atoi(optarg);
			break;
		case 's':
			options.spread = atoi(optarg);
			break;
		case 'e':
			options.expect = strtoull(optarg, NULL, 10);
			break;
		case 'c':
			if (options.pid_count < PIDS_MAX)
				options.pids[options.pid_count++] = atoi(optarg);
			break;
		default:
			exit(2);
		}
	}
	if (options.parse < 0 || options.parse > options.count)
		options.parse = options.count;
}

int main(int argc, char **argv)
{
	struct rlimit files;

	take_options(argc, argv);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	load.connections = calloc((size_t)options.count, sizeof(*load.connections));
	load.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (load.connections == NULL || load.epoll_fd < 0)
		fail("start");
	run();
	return 0;
}
