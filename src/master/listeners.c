/* listeners.c: see listeners.h. */
#include "master/listeners.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"

enum {
	/* Bound what the kernel holds for a client that floods, or that does not read. libh2o takes all that was
	 * received in one turn, and others wait for it: the kernel makes 24 kB of this. */
	RECEIVE_BUFFER = 16 << 10,
	SEND_BUFFER = 128 << 10,
	/* Ready for more only when this little has not been sent: the rest of a backlog stays in the ring. */
	UNSENT_LOW_WATER = 64 << 10,
	/* A peer that vanished: data unacknowledged for so long, or this silent and then deaf to probes. */
	UNACKNOWLEDGED_MS = 30000,
	KEEPALIVE_IDLE_S = 60,
	KEEPALIVE_INTERVAL_S = 10,
	/* Clients of TLS are accepted when they have said something, or after so long: a worker, which accepts a few
	 * in a turn, then begins with no more handshakes. */
	SPEAKS_FIRST_S = 5,
	RETRY_MS = 50,
};

struct listener {
	struct sockaddr_storage address;
	socklen_t address_size;
	int *sockets; /* one for each worker, or a single one for all if it is a Unix socket; -1: none */
	unsigned socket_count;
};

static bool is_unix(const struct outline_listener *wanted)
{
	return wanted->address.ss_family == AF_UNIX;
}

static bool set_option(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) == 0;
}

/* Accepted sockets inherit all of these. */
static bool set_tcp_options(int fd, int family)
{
	return set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) && set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1) &&
		   set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1) &&
		   set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S) &&
		   set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S) &&
		   set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS) &&
		   set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1) &&
		   set_option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_LOW_WATER) &&
		   (family != AF_INET6 || set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1));
}

static bool is_tls(const struct outline_listener *wanted)
{
	return wanted->declaration_count > 0 && wanted->declarations[0].tls != NULL;
}

/* What a reload may change for a socket that goes on. */
static bool adapt(int fd, const struct outline_listener *wanted)
{
	return is_unix(wanted) ||
		   set_option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, is_tls(wanted) ? SPEAKS_FIRST_S : 0);
}

/* Returns 0, or an errno. A file that a killed server left behind refuses connections, and is removed. */
static int probe_unix(const struct outline_listener *wanted)
{
	const char *path = ((const struct sockaddr_un *)&wanted->address)->sun_path;
	struct stat status;
	if (lstat(path, &status) != 0)
		return errno == ENOENT ? 0 : errno;
	if (!S_ISSOCK(status.st_mode))
		return EEXIST;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return errno;
	int refused =
		connect(fd, (const struct sockaddr *)&wanted->address, wanted->address_size) != 0 ? errno : 0;
	close(fd);
	if (refused != ECONNREFUSED)
		return EADDRINUSE;
	return unlink(path) == 0 ? 0 : errno;
}

/* Whether an address is free, by binding it as its only user. Returns 0, or an errno. */
static int probe_tcp(const struct outline_listener *wanted)
{
	int fd = socket(wanted->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errno;
	bool free_address = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) &&
						bind(fd, (const struct sockaddr *)&wanted->address, wanted->address_size) == 0;
	int error = free_address ? 0 : errno;
	close(fd);
	return error;
}

static int probe(const struct outline_listener *wanted, int64_t deadline)
{
	static const struct timespec pause = {.tv_nsec = RETRY_MS * 1000000};
	for (;;) {
		int error = is_unix(wanted) ? probe_unix(wanted) : probe_tcp(wanted);
		if (error != EADDRINUSE || clock_monotonic_ms() >= deadline)
			return error;
		nanosleep(&pause, NULL);
	}
}

/* Returns a listening socket, or -1 and errno. */
static int open_socket(const struct outline_listener *wanted)
{
	int fd = socket(wanted->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	if (set_option(fd, SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER) &&
		set_option(fd, SOL_SOCKET, SO_SNDBUF, SEND_BUFFER) &&
		(is_unix(wanted) || set_tcp_options(fd, wanted->address.ss_family)) && adapt(fd, wanted) &&
		bind(fd, (const struct sockaddr *)&wanted->address, wanted->address_size) == 0 &&
		listen(fd, SOMAXCONN) == 0)
		return fd;
	int error = errno;
	close(fd);
	errno = error;
	return -1;
}

static void close_listener(struct listener *listener, bool unlink_path)
{
	bool open = false;
	for (unsigned i = 0; i < listener->socket_count; i++) {
		if (listener->sockets[i] >= 0) {
			close(listener->sockets[i]);
			open = true;
		}
	}
	if (open && unlink_path && listener->address.ss_family == AF_UNIX)
		unlink(((struct sockaddr_un *)&listener->address)->sun_path);
	free(listener->sockets);
	*listener = (struct listener){0};
}

static struct listener *find_listener(const struct listeners *listeners,
									  const struct outline_listener *wanted)
{
	for (size_t i = 0; i < listeners->count; i++) {
		struct listener *listener = &listeners->list[i];
		if (listener->address_size == wanted->address_size &&
			memcmp(&listener->address, &wanted->address, wanted->address_size) == 0)
			return listener;
	}
	return NULL;
}

/* How many sockets of `held`, which may be NULL, go on in `listener`. */
static unsigned count_kept(const struct listener *held, const struct listener *listener)
{
	if (held == NULL)
		return 0;
	return held->socket_count < listener->socket_count ? held->socket_count : listener->socket_count;
}

/* Takes over the sockets of `held` and opens what is missing. False: errno says why; `listener` can be
 * closed. */
static bool open_listener(struct listener *listener, const struct listener *held,
						  const struct outline_listener *wanted, unsigned worker_count, int64_t deadline)
{
	unsigned count = is_unix(wanted) ? 1 : worker_count;
	*listener = (struct listener){.address = wanted->address, .address_size = wanted->address_size};
	listener->sockets = malloc(count * sizeof(*listener->sockets));
	if (listener->sockets == NULL)
		return false;
	listener->socket_count = count;
	for (unsigned i = 0; i < count; i++)
		listener->sockets[i] = -1;
	unsigned kept = count_kept(held, listener);
	for (unsigned i = 0; i < kept; i++)
		listener->sockets[i] = held->sockets[i];
	if (held == NULL && (errno = probe(wanted, deadline)) != 0)
		return false;
	for (unsigned i = 0; i < kept; i++) {
		if (!adapt(listener->sockets[i], wanted))
			return false;
	}
	for (unsigned i = kept; i < count; i++) {
		if ((listener->sockets[i] = open_socket(wanted)) < 0)
			return false;
	}
	return wanted->permission == 0 ||
		   chmod(((const struct sockaddr_un *)&wanted->address)->sun_path, wanted->permission) == 0;
}

static bool has_socket(const struct listeners *listeners, int socket)
{
	for (size_t i = 0; i < listeners->count; i++) {
		const struct listener *listener = &listeners->list[i];
		for (unsigned j = 0; j < listener->socket_count; j++) {
			if (listener->sockets[j] == socket)
				return true;
		}
	}
	return false;
}

/* Makes one side forget the sockets that both have, so that closing that side leaves them open. */
static void forget_shared(struct listeners *forgetful, const struct listeners *other)
{
	for (size_t i = 0; i < forgetful->count; i++) {
		struct listener *listener = &forgetful->list[i];
		for (unsigned j = 0; j < listener->socket_count; j++) {
			if (has_socket(other, listener->sockets[j]))
				listener->sockets[j] = -1;
		}
	}
}

bool listeners_update(struct listeners *listeners, const struct outline *outline, unsigned patience_ms,
					  struct buffer *ret_error)
{
	int64_t deadline = clock_monotonic_ms() + patience_ms;
	struct listeners next = {0};
	next.list = calloc(outline->listener_count, sizeof(*next.list));
	if (next.list == NULL) {
		buffer_append_string(ret_error, "out of memory for listeners");
		return false;
	}
	for (size_t i = 0; i < outline->listener_count; i++) {
		const struct outline_listener *wanted = &outline->listeners[i];
		next.count++;
		if (open_listener(&next.list[i], find_listener(listeners, wanted), wanted, outline->worker_count,
						  deadline))
			continue;
		buffer_printf(ret_error, "%s: cannot listen on %s: %s", wanted->where, wanted->name, strerror(errno));
		forget_shared(&next, listeners);
		listeners_close(&next, true);
		return false;
	}
	forget_shared(listeners, &next);
	listeners_close(listeners, true);
	*listeners = next;
	return true;
}

int listeners_socket(const struct listeners *listeners, size_t index, unsigned worker)
{
	const struct listener *listener = &listeners->list[index];
	return listener->sockets[listener->socket_count == 1 ? 0 : worker];
}

void listeners_keep_worker(struct listeners *listeners, unsigned worker)
{
	for (size_t i = 0; i < listeners->count; i++) {
		struct listener *listener = &listeners->list[i];
		for (unsigned j = 0; j < listener->socket_count && listener->socket_count > 1; j++) {
			if (j != worker) {
				close(listener->sockets[j]);
				listener->sockets[j] = -1;
			}
		}
	}
}

void listeners_close(struct listeners *listeners, bool unlink_paths)
{
	for (size_t i = 0; i < listeners->count; i++)
		close_listener(&listeners->list[i], unlink_paths);
	free(listeners->list);
	*listeners = (struct listeners){0};
}
