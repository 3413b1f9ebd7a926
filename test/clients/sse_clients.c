/*
 * sse_clients: many Server-Sent-Events clients in one process, each of which checks what it gets.
 *
 *   sse_clients --port 7080 --path /cdc/users --clients 100 --from 0/16E0478 --until last --reconnect 300
 *
 *   --clients N       how many (100)              --from CURSOR     where each starts (now)
 *   --until ID        each is done once it has seen the change with this document_id; without it, when the
 *                     server ends its stream (it does not connect again then)
 *   --reconnect MS    each cuts its connection off about every MS milliseconds, wherever it is, and resumes
 *                     by its last id (0: only when the server cuts it off)
 *   --seconds N       give up after N seconds (120)
 *   --record FILE     the first client's changes, a line each: id, tab, document_id
 *   --data            in the record the whole data in place of document_id
 *   --seed N          of when they cut themselves off (1)
 *
 * Prints `open` when all have their first event block, and at the end a line of key=value:
 *   finished    clients that are done                 events     changes of all clients together
 *   disorder    ids that were not above the one before (lost order, or a change twice)
 *   gaps        `warning` events   lagged  the changes that they say are gone
 *   resets      `reset` events     refused answers other than 200
 *   different   clients whose ids are not those of the first one
 * Exit status 0 if all finished and disorder, gaps, resets, refused and different are 0.
 *
 * It reads HTTP/1.1, with chunks or to the end of the connection, and SSE lines that end in LF, which is all
 * that is needed here; it is no general client. One thread, epoll.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_SIZE = 1 << 20, READ_SIZE = 1 << 16, RETRY_MS = 50 };

enum reading {
	READING_STATUS,
	READING_HEADERS,
	READING_CHUNK_SIZE,
	READING_CHUNK,
	READING_CHUNK_END,
	READING_BODY, /* without chunks, to the end of the connection */
};

struct client {
	int fd; /* -1: not connected */
	enum reading reading;
	uint64_t chunk_left;
	char head[256]; /* a line of the head or of a chunk's size, cut */
	size_t head_size;
	char *line; /* a line of SSE, as far as it has come */
	size_t line_size, line_capacity;

	char id[64], last_id[64]; /* of this block; of the last complete one */
	char event[16];
	char document[64];
	char *data; /* the first client's, with --data */
	bool chunked, has_data, is_open, is_done;

	int64_t connect_at_ms, cut_at_ms;
	uint64_t lsn, n, events, digest, connects;
	uint64_t lagged; /* of this block, if it is a warning */
};

static struct {
	int port, client_count, reconnect_ms, seconds;
	const char *path, *from, *until, *record;
	bool record_data;
	unsigned seed;
} options = {.client_count = 100, .seconds = 120, .from = "now", .seed = 1};

static struct {
	uint64_t disorder, gaps, lagged, resets, refused;
	int open, done;
} seen;

static int poller;
static FILE *record;
static struct client *first_client;

static int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

static void client_disconnect(struct client *client)
{
	if (client->fd >= 0)
		close(client->fd);
	client->fd = -1;
	client->reading = READING_STATUS;
	client->chunked = false;
	client->head_size = client->line_size = 0;
	client->has_data = false;
	client->event[0] = client->id[0] = 0;
	client->connect_at_ms = now_ms() + RETRY_MS;
}

static void client_finish(struct client *client)
{
	if (client->is_done)
		return;
	client->is_done = true;
	seen.done++;
	client_disconnect(client);
}

static void client_connect(struct client *client)
{
	char request[512];
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(options.port)};
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (client->fd < 0 || connect(client->fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		client_disconnect(client);
		return;
	}
	int size =
		client->last_id[0] != 0
			? snprintf(request, sizeof(request),
					   "GET %s HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: %s\r\n\r\n", options.path,
					   client->last_id)
			: snprintf(request, sizeof(request), "GET %s%csince_lsn=%s HTTP/1.1\r\nHost: localhost\r\n\r\n",
					   options.path, strchr(options.path, '?') != NULL ? '&' : '?', options.from);
	if (write(client->fd, request, size) != size) {
		client_disconnect(client);
		return;
	}
	fcntl(client->fd, F_SETFL, O_NONBLOCK);
	struct epoll_event wanted = {.events = EPOLLIN, .data.ptr = client};
	epoll_ctl(poller, EPOLL_CTL_ADD, client->fd, &wanted);
	client->connects++;
	if (options.reconnect_ms > 0)
		client->cut_at_ms = now_ms() + 1 + rand() % (2 * options.reconnect_ms);
}

/* A change has come: checks that its id is above the one before, and adds it to the digest of all ids. */
static void client_count_change(struct client *client)
{
	uint64_t lsn = 0, n = 0;
	bool is_id = sscanf(client->id, "%" SCNu64 "-%" SCNu64, &lsn, &n) == 2;
	if (!is_id || lsn < client->lsn || (lsn == client->lsn && n <= client->n))
		seen.disorder++;
	client->lsn = lsn;
	client->n = n;
	client->events++;
	for (const char *c = client->id; *c != 0; c++)
		client->digest = (client->digest ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
	if (record != NULL && client == first_client)
		fprintf(record, "%s\t%s\n", client->id, options.record_data ? client->data : client->document);
	if (options.until != NULL && strcmp(client->document, options.until) == 0)
		client_finish(client);
}

static void client_end_block(struct client *client)
{
	if (!client->is_open) {
		client->is_open = true;
		if (++seen.open == options.client_count) {
			puts("open");
			fflush(stdout);
		}
	}
	if (client->id[0] != 0)
		memcpy(client->last_id, client->id, sizeof(client->last_id));
	if (client->has_data && strcmp(client->event, "warning") == 0) {
		seen.gaps++;
		seen.lagged += client->lagged;
	} else if (client->has_data && strcmp(client->event, "reset") == 0) {
		seen.resets++;
	} else if (client->has_data) {
		client_count_change(client);
	}
	client->has_data = false;
	client->id[0] = client->event[0] = client->document[0] = 0;
}

static void client_line(struct client *client, const char *line)
{
	if (line[0] == 0) {
		client_end_block(client);
	} else if (strncmp(line, "id: ", 4) == 0) {
		snprintf(client->id, sizeof(client->id), "%s", line + 4);
	} else if (strncmp(line, "event: ", 7) == 0) {
		snprintf(client->event, sizeof(client->event), "%s", line + 7);
	} else if (strncmp(line, "data: ", 6) == 0) {
		client->has_data = true;
		if (options.record_data && client == first_client) {
			free(client->data);
			client->data = strdup(line + 6);
		}
		sscanf(line, "data: lagged %" SCNu64 " events", &client->lagged);
		const char *document = strstr(line, "\"document_id\":\"");
		if (document != NULL)
			sscanf(document, "\"document_id\":\"%63[^\"]", client->document);
	}
}

/* Takes bytes of the body, splits them into lines. */
static void client_body(struct client *client, const char *data, size_t size)
{
	while (size > 0 && client->fd >= 0) {
		const char *end = memchr(data, '\n', size);
		size_t part = end != NULL ? (size_t)(end - data) : size;
		if (client->line_size + part + 1 > client->line_capacity) {
			client->line_capacity = 2 * (client->line_size + part + 1);
			client->line = realloc(client->line, client->line_capacity);
			if (client->line == NULL || client->line_capacity > 2 * LINE_MAX_SIZE) {
				fprintf(stderr, "a line of %zu bytes\n", client->line_size + part);
				exit(2);
			}
		}
		memcpy(client->line + client->line_size, data, part);
		client->line_size += part;
		if (end == NULL)
			return;
		client->line[client->line_size] = 0;
		client->line_size = 0;
		client_line(client, client->line);
		data += part + 1;
		size -= part + 1;
	}
}

/* A complete line of the head, or of a chunk's size. */
static void client_head_line(struct client *client)
{
	const char *line = client->head;
	switch (client->reading) {
	case READING_STATUS:
		client->reading = READING_HEADERS;
		if (strncmp(line, "HTTP/1.1 200", 12) != 0) {
			seen.refused++;
			fprintf(stderr, "refused: %s\n", line);
			client_finish(client);
		}
		return;
	case READING_HEADERS:
		if (strcasecmp(line, "transfer-encoding: chunked") == 0)
			client->chunked = true;
		if (line[0] == 0)
			client->reading = client->chunked ? READING_CHUNK_SIZE : READING_BODY;
		return;
	case READING_CHUNK_SIZE:
		client->chunk_left = strtoull(line, NULL, 16);
		client->reading = READING_CHUNK;
		if (client->chunk_left == 0)
			client_disconnect(client);
		return;
	case READING_CHUNK:
	case READING_CHUNK_END:
		client->reading = READING_CHUNK_SIZE;
		return;
	case READING_BODY:
		return;
	}
}

static void client_bytes(struct client *client, const char *data, size_t size)
{
	while (size > 0 && client->fd >= 0) {
		if (client->reading == READING_BODY) {
			client_body(client, data, size);
			return;
		}
		if (client->reading == READING_CHUNK) {
			size_t part = size < client->chunk_left ? size : client->chunk_left;
			client_body(client, data, part);
			client->chunk_left -= part;
			if (client->chunk_left == 0 && client->fd >= 0)
				client->reading = READING_CHUNK_END;
			data += part;
			size -= part;
			continue;
		}
		char c = *data++;
		size--;
		if (c == '\n') {
			client->head[client->head_size] = 0;
			client->head_size = 0;
			client_head_line(client);
		} else if (c != '\r' && client->head_size < sizeof(client->head) - 1) {
			client->head[client->head_size++] = c;
		}
	}
}

static void client_readable(struct client *client)
{
	static char data[READ_SIZE];
	if (client->fd < 0)
		return;
	ssize_t size = read(client->fd, data, sizeof(data));
	if (size > 0)
		client_bytes(client, data, size);
	else if (size == 0 || errno != EAGAIN)
		client_disconnect(client);
	if (client->fd < 0 && options.until == NULL)
		client_finish(client);
}

static void client_tick(struct client *client, int64_t now)
{
	if (client->is_done)
		return;
	if (client->fd >= 0 && options.reconnect_ms > 0 && now >= client->cut_at_ms) {
		client_disconnect(client);
		client->connect_at_ms = now;
	}
	if (client->fd < 0 && now >= client->connect_at_ms)
		client_connect(client);
}

static int report(const struct client *clients)
{
	uint64_t events = 0, connects = 0, different = 0;
	for (int i = 0; i < options.client_count; i++) {
		events += clients[i].events;
		connects += clients[i].connects;
		different += clients[i].digest != clients[0].digest || clients[i].events != clients[0].events;
	}
	printf("finished=%d events=%" PRIu64 " connects=%" PRIu64 " disorder=%" PRIu64 " gaps=%" PRIu64
		   " lagged=%" PRIu64 " resets=%" PRIu64 " refused=%" PRIu64 " different=%" PRIu64 "\n",
		   seen.done, events, connects, seen.disorder, seen.gaps, seen.lagged, seen.resets, seen.refused,
		   different);
	bool fine =
		seen.done == options.client_count && seen.disorder + seen.gaps + seen.resets + seen.refused == 0;
	return fine && different == 0 ? 0 : 1;
}

static void parse_options(int argc, char **argv)
{
	static const struct option known[] = {
		{"port", required_argument, NULL, 'p'},
		{"path", required_argument, NULL, 'P'},
		{"clients", required_argument, NULL, 'c'},
		{"from", required_argument, NULL, 'f'},
		{"until", required_argument, NULL, 'u'},
		{"reconnect", required_argument, NULL, 'r'},
		{"seconds", required_argument, NULL, 's'},
		{"record", required_argument, NULL, 'R'},
		{"data", no_argument, NULL, 'd'},
		{"seed", required_argument, NULL, 'S'},
		{0},
	};
	int option;
	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case 'p':
			options.port = atoi(optarg);
			break;
		case 'P':
			options.path = optarg;
			break;
		case 'c':
			options.client_count = atoi(optarg);
			break;
		case 'f':
			options.from = optarg;
			break;
		case 'u':
			options.until = optarg;
			break;
		case 'r':
			options.reconnect_ms = atoi(optarg);
			break;
		case 's':
			options.seconds = atoi(optarg);
			break;
		case 'R':
			options.record = optarg;
			break;
		case 'd':
			options.record_data = true;
			break;
		case 'S':
			options.seed = (unsigned)atoi(optarg);
			break;
		default:
			exit(2);
		}
	}
	if (options.port <= 0 || options.path == NULL || options.client_count <= 0) {
		fprintf(stderr, "usage: sse_clients --port N --path /cdc/... (see the head of sse_clients.c)\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	parse_options(argc, argv);
	srand(options.seed);
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	if (options.record != NULL)
		record = fopen(options.record, "w");

	struct client *clients = calloc(options.client_count, sizeof(*clients));
	if (clients == NULL || (options.record != NULL && record == NULL)) {
		perror("sse_clients");
		return 2;
	}
	first_client = clients;
	poller = epoll_create1(EPOLL_CLOEXEC);
	for (int i = 0; i < options.client_count; i++)
		clients[i].fd = -1;

	int64_t end = now_ms() + options.seconds * INT64_C(1000);
	while (seen.done < options.client_count && now_ms() < end) {
		int64_t now = now_ms();
		for (int i = 0; i < options.client_count; i++)
			client_tick(&clients[i], now);
		struct epoll_event ready[256];
		int count = epoll_wait(poller, ready, 256, 10);
		for (int i = 0; i < count; i++)
			client_readable(ready[i].data.ptr);
	}
	if (record != NULL)
		fclose(record);
	return report(clients);
}
