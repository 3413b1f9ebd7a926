/*
 * plain_server.c: the least that a server of Server-Sent Events can do: no HTTP library, no ring, nothing to
 * render.
 *
 * In: any request. Out: a head, then events, without chunks. --flood writes pieces of --chunk bytes to
 * everyone as fast as they are taken: the ceiling of what one core can hand to the kernel. --rate N writes N
 * events a second, each with one write() for each client: what a simple server does. --frame is the size of
 * an event in bytes. --idle only answers.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "measure.h"

enum { CLIENTS_MAX = 20000, FRAME_MAX = 64 * 1024, EVENTS_SIZE = 512, SEND_BUFFER = 128 * 1024 };

static const char head[] =
	"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\r\n"
	"retry: 1000\n\n";

static struct {
	int port, chunk, frame;
	double rate;
	bool flood;
} options = {.port = 0, .chunk = 64 * 1024, .frame = 300};

static int clients[CLIENTS_MAX];
static int client_count;
static int epoll_fd;
static char *flood_bytes;

static void fail(const char *what)
{
	fprintf(stderr, "plain_server: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* An event of options.frame bytes. Returns its size. */
static int render(char *out, int64_t seq)
{
	int size = snprintf(out, FRAME_MAX,
						"id: %" PRId64 "\nevent: insert\ndata: {\"seq\":%" PRId64 ",\"sent_us\":%" PRId64
						",\"pad\":\"",
						seq, seq, realtime_us());
	int left = options.frame - size - 4;
	if (left > 0) {
		memset(out + size, 'x', (size_t)left);
		size += left;
	}
	memcpy(out + size, "\"}\n\n", 4);
	return size + 4;
}

static void watch(int fd, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.fd = fd};
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
		fail("epoll");
}

static void accept_all(int listener)
{
	int fd;
	while (client_count < CLIENTS_MAX &&
		   (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
		watch(fd, EPOLLIN);
}

/* Neither the request nor what comes after it is looked at; a client that leaves is found by its write. */
static void answer(int fd)
{
	char request[4096];
	int one = 1;

	if (read(fd, request, sizeof(request)) <= 0) {
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	struct epoll_event event = {.events = options.flood ? EPOLLOUT : 0, .data.fd = fd};
	if (write(fd, head, sizeof(head) - 1) < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &event) != 0)
		close(fd);
	else
		clients[client_count++] = fd;
}

static void send_event(void)
{
	static char frame[FRAME_MAX];
	static int64_t seq;
	int size = render(frame, ++seq);

	for (int i = 0; i < client_count; i++) {
		if (clients[i] >= 0 && write(clients[i], frame, (size_t)size) < 0 && errno != EAGAIN) {
			close(clients[i]);
			clients[i] = -1;
		}
	}
}

static void on_tick(int timer)
{
	uint64_t ticks;
	if (read(timer, &ticks, sizeof(ticks)) != sizeof(ticks))
		return;
	while (ticks-- > 0)
		send_event();
}

static int start_listening(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
								  .sin_port = htons((uint16_t)options.port),
								  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int one = 1, size = SEND_BUFFER, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 4096) != 0)
		fail("listen");
	return fd;
}

static int start_timer(void)
{
	int64_t period_ns = (int64_t)(1e9 / options.rate);
	struct timespec period = {period_ns / 1000000000, period_ns % 1000000000};
	struct itimerspec timer = {period, period};
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	if (fd < 0 || timerfd_settime(fd, 0, &timer, NULL) != 0)
		fail("timer");
	return fd;
}

static void prepare_flood(void)
{
	flood_bytes = malloc((size_t)options.chunk + FRAME_MAX);
	if (flood_bytes == NULL)
		fail("memory");
	options.chunk -= options.chunk % options.frame; /* whole events */
	for (int at = 0; at < options.chunk; at += options.frame)
		render(flood_bytes + at, at / options.frame);
}

static void run(int listener, int timer)
{
	struct epoll_event events[EVENTS_SIZE];

	for (;;) {
		int count = epoll_wait(epoll_fd, events, EVENTS_SIZE, -1);
		for (int i = 0; i < count; i++) {
			int fd = events[i].data.fd;
			if (fd == listener)
				accept_all(fd);
			else if (fd == timer)
				on_tick(fd);
			else if ((events[i].events & EPOLLIN) != 0)
				answer(fd);
			else if ((events[i].events & EPOLLOUT) == 0 ||
					 (write(fd, flood_bytes, (size_t)options.chunk) < 0 && errno != EAGAIN))
				epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, NULL);
		}
	}
}

static void take_options(int argc, char **argv)
{
	static const struct option names[] = {
		{"port", required_argument, NULL, 'p'},  {"chunk", required_argument, NULL, 'c'},
		{"frame", required_argument, NULL, 'f'}, {"rate", required_argument, NULL, 'r'},
		{"flood", no_argument, NULL, 'F'},       {NULL, 0, NULL, 0}};
	int name;

	while ((name = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (name) {
		case 'p':
			options.port = atoi(optarg);
			break;
		case 'c':
			options.chunk = atoi(optarg);
			break;
		case 'f':
			options.frame = atoi(optarg);
			break;
		case 'r':
			options.rate = atof(optarg);
			break;
		case 'F':
			options.flood = true;
			break;
		default:
			exit(2);
		}
	}
	if (options.frame > FRAME_MAX || options.chunk < options.frame)
		exit(2);
}

int main(int argc, char **argv)
{
	struct rlimit files;

	take_options(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	int listener = start_listening(), timer = options.rate > 0 ? start_timer() : -1;
	watch(listener, EPOLLIN);
	if (timer >= 0)
		watch(timer, EPOLLIN);
	if (options.flood)
		prepare_flood();
	run(listener, timer);
	return 0;
}
