/* listeners.c: the master's sockets: opened once, kept through reloads, never shared with another server
 * unseen. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master/listeners.h"
#include "tap.h"

static char directory[] = "/tmp/listeners_test_XXXXXX";

static struct sockaddr_in loopback(unsigned port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
}

static unsigned free_port(void)
{
	struct sockaddr_in address = loopback(0);
	socklen_t size = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	bind(fd, (struct sockaddr *)&address, size);
	getsockname(fd, (struct sockaddr *)&address, &size);
	close(fd);
	return ntohs(address.sin_port);
}

/* Returns a connected socket, or -1. */
static int connect_to(unsigned port)
{
	struct sockaddr_in address = loopback(port);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

static bool connects(unsigned port)
{
	int fd = connect_to(port);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static bool is_open(int fd)
{
	struct stat status;
	return fstat(fd, &status) == 0;
}

/* Updates `listeners` to a file's text; on failure returns the message, which the next call overwrites. */
static const char *update(struct listeners *listeners, unsigned patience_ms, const char *format, ...)
{
	static char text[512], message[512];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	struct yaml_tree tree;
	struct outline outline;
	struct buffer error = {0};
	if (!yaml_tree_parse("h2o.conf", bytes_of(text), &tree, &error))
		return "no YAML";
	bool done = outline_read(tree.root, &outline, &error);
	if (done) {
		done = listeners_update(listeners, &outline, patience_ms, &error);
		outline_free(&outline);
	}
	yaml_tree_free(&tree);
	snprintf(message, sizeof(message), "%s", buffer_message(&error));
	buffer_free(&error);
	return done ? NULL : message;
}

#define ONE "num-threads: %u\nlisten: {host: 127.0.0.1, port: %u}\n"

static void test_update(void)
{
	struct listeners listeners = {0}, others = {0};
	unsigned port = free_port(), second = free_port();
	char wanted[256];
	if (!ok(update(&listeners, 0, ONE, 2, port) == NULL, "listeners for two workers"))
		return;
	int first[2] = {listeners_socket(&listeners, 0, 0), listeners_socket(&listeners, 0, 1)};
	ok(first[0] != first[1], "each worker has its own");
	int waiting = connect_to(port);
	ok(waiting >= 0, "a client connects");

	snprintf(wanted, sizeof(wanted), "h2o.conf:2:9: cannot listen on 127.0.0.1:%u: Address already in use",
			 port);
	const char *message = update(&others, 0, ONE, 1, port);
	is_text(message == NULL ? "" : message, wanted, "a second server is told that the port is taken");

	ok(update(&others, 0, ONE, 1, second) == NULL, "another server on a second port");
	message = update(&listeners, 0,
					 "num-threads: 3\nlisten: [{host: 127.0.0.1, port: %u}, {host: 127.0.0.1, port: %u}]\n",
					 port, second);
	ok(message != NULL, "a reload that wants both is refused");
	ok(listeners.count == 1 && listeners_socket(&listeners, 0, 0) == first[0] &&
		   listeners_socket(&listeners, 0, 1) == first[1] && is_open(first[0]) && is_open(first[1]),
	   "and has changed nothing");
	listeners_close(&others, true);

	ok(update(&listeners, 0,
			  "num-threads: 3\nlisten: [{host: 127.0.0.1, port: %u}, {host: 127.0.0.1, port: %u}]\n", second,
			  port) == NULL,
	   "a reload with one more worker and one more port");
	ok(listeners_socket(&listeners, 1, 0) == first[0] && listeners_socket(&listeners, 1, 1) == first[1],
	   "keeps the sockets that there were");
	int accepted = accept(first[0], NULL, NULL);
	if (accepted < 0)
		accepted = accept(first[1], NULL, NULL);
	ok(accepted >= 0, "and the client that waits");
	close(accepted);
	close(waiting);

	int third = listeners_socket(&listeners, 1, 2);
	ok(update(&listeners, 0, ONE, 1, second) == NULL, "a reload with one port less");
	ok(!connects(port) && !is_open(third), "closes it");
	ok(connects(second), "and keeps the other");
	listeners_close(&listeners, true);
	ok(!connects(second), "at the end nothing is open");
}

static void test_worker(void)
{
	struct listeners listeners = {0};
	unsigned port = free_port();
	if (!ok(update(&listeners, 0, ONE, 3, port) == NULL, "listeners for three workers"))
		return;
	int other = listeners_socket(&listeners, 0, 0), own = listeners_socket(&listeners, 0, 1);
	listeners_keep_worker(&listeners, 1);
	ok(is_open(own) && !is_open(other), "a worker keeps its own only");
	listeners_close(&listeners, false);
	ok(!is_open(own), "and closes it");
}

static void test_options(void)
{
	struct listeners listeners = {0};
	unsigned port = free_port();
	if (!ok(update(&listeners, 0, ONE, 1, port) == NULL, "a listener"))
		return;
	int client = connect_to(port), value = 0;
	int accepted = accept(listeners_socket(&listeners, 0, 0), NULL, NULL);
	socklen_t size = sizeof(value);
	getsockopt(accepted, SOL_SOCKET, SO_SNDBUF, &value, &size);
	is_u64((uint64_t)value, 2 * (128 << 10), "a connection inherits the send buffer, which Linux doubles");
	getsockopt(accepted, SOL_SOCKET, SO_KEEPALIVE, &value, &size);
	is_u64((uint64_t)value, 1, "and keep-alive");
	close(accepted);
	close(client);
	listeners_close(&listeners, true);
}

static void test_patience(void)
{
	struct listeners listeners = {0};
	unsigned port = free_port();
	int ready[2];
	if (!ok(pipe(ready) == 0, "a pipe"))
		return;
	pid_t holder = fork();
	if (holder == 0) {
		static const struct itimerval soon = {.it_value.tv_usec = 300000};
		if (update(&listeners, 0, ONE, 1, port) != NULL)
			_exit(1);
		setitimer(ITIMER_REAL, &soon, NULL);
		if (write(ready[1], "", 1) == 1)
			pause();
		_exit(1);
	}
	char byte;
	ok(read(ready[0], &byte, 1) == 1, "a server that is about to die");
	ok(update(&listeners, 30000, ONE, 1, port) == NULL, "with patience its port is had");
	waitpid(holder, NULL, 0);
	listeners_close(&listeners, true);
	close(ready[0]);
	close(ready[1]);
}

static void test_unix(void)
{
	struct listeners listeners = {0}, others = {0};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat status = {0};
	char path[128];
	snprintf(path, sizeof(path), "%s/socket", directory);
	memcpy(address.sun_path, path, strlen(path) + 1);
	int stale = socket(AF_UNIX, SOCK_STREAM, 0);
	bind(stale, (struct sockaddr *)&address, sizeof(address));
	close(stale);

	static const char text[] = "num-threads: 2\nlisten: {type: unix, port: %s, permission: %s}\n";
	if (!ok(update(&listeners, 0, text, path, "600") == NULL, "a Unix socket, where a dead server left one"))
		return;
	ok(stat(path, &status) == 0 && (status.st_mode & 0777) == 0600, "has the permission of the file");
	ok(listeners_socket(&listeners, 0, 0) == listeners_socket(&listeners, 0, 1), "is shared by the workers");
	ok(update(&others, 0, text, path, "600") != NULL, "is not taken from a living server");
	ok(update(&listeners, 0, text, path, "666") == NULL, "is kept by a reload");
	ok(stat(path, &status) == 0 && (status.st_mode & 0777) == 0666, "with another permission");
	listeners_close(&listeners, true);
	ok(stat(path, &status) != 0, "is gone at the end");

	FILE *file = fopen(path, "w");
	fclose(file);
	const char *message = update(&listeners, 0, text, path, "600");
	ok(message != NULL && strstr(message, "File exists") != NULL, "a file that is no socket is left alone");
	unlink(path);
}

int main(void)
{
	if (mkdtemp(directory) == NULL)
		return 1;
	test_update();
	test_worker();
	test_options();
	test_patience();
	test_unix();
	rmdir(directory);
	return tap_end();
}
