/*
 * tls_relay: stands in front of PostgreSQL as a pooler with TLS does, and puts what the server says into
 * records of TLS that are as large as they can be (16 kB), where PostgreSQL's own mostly have 8 kB.
 * links: -lssl -lcrypto
 *
 *   tls_relay CERTIFICATE KEY /dir/.s.PGSQL.5432
 *
 * What the server says without a pause of 20 ms is gathered and sent together: first a record with what is
 * over, then full ones, so that what the server said last ends a full record. Prints the port on 127.0.0.1. A
 * process for each connection; they end with the one that started the first.
 */
#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { RECORD = 16384, GATHER_MAX = 64 * RECORD, PAUSE_MS = 20, SSL_REQUEST_SIZE = 8 };

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int listen_on_loopback(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) != 0 || listen(fd, 50) != 0 ||
		getsockname(fd, (struct sockaddr *)&address, &size) != 0)
		fail("listen");
	printf("%d\n", ntohs(address.sin_port));
	fflush(stdout);
	return fd;
}

static int connect_to_server(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		fail("connect");
	return fd;
}

static void write_to_server(int fd, const char *bytes, int size)
{
	while (size > 0) {
		ssize_t written = write(fd, bytes, (size_t)size);
		if (written <= 0)
			exit(0);
		bytes += written;
		size -= (int)written;
	}
}

/* What is over, then full records. */
static void write_to_client(SSL *ssl, const char *bytes, int size)
{
	while (size > 0) {
		int record = size % RECORD == 0 ? RECORD : size % RECORD;
		if (SSL_write(ssl, bytes, record) != record)
			exit(0);
		bytes += record;
		size -= record;
	}
}

static void relay(SSL *ssl, int client, int server)
{
	static char gathered[GATHER_MAX], bytes[RECORD];
	int size = 0;

	for (;;) {
		struct pollfd fds[] = {{.fd = client, .events = POLLIN}, {.fd = server, .events = POLLIN}};
		int ready = SSL_pending(ssl) > 0 ? 1 : poll(fds, 2, size > 0 ? PAUSE_MS : -1);
		if (SSL_pending(ssl) > 0 || fds[0].revents != 0) {
			int got = SSL_read(ssl, bytes, sizeof(bytes));
			if (got <= 0)
				return;
			write_to_server(server, bytes, got);
		}
		if (ready > 0 && fds[1].revents != 0) {
			ssize_t got = read(server, gathered + size, sizeof(gathered) - (size_t)size);
			if (got <= 0)
				return;
			size += (int)got;
		}
		if (ready == 0 || size == GATHER_MAX) {
			write_to_client(ssl, gathered, size);
			size = 0;
		}
	}
}

static void serve(SSL_CTX *context, int client, const char *path)
{
	char request[SSL_REQUEST_SIZE];
	SSL *ssl = SSL_new(context);

	if (recv(client, request, sizeof(request), MSG_WAITALL) != sizeof(request) || write(client, "S", 1) != 1)
		fail("SSLRequest");
	if (ssl == NULL || SSL_set_fd(ssl, client) != 1 || SSL_accept(ssl) != 1)
		fail("TLS");
	relay(ssl, client, connect_to_server(path));
}

int main(int argc, char **argv)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());

	if (argc != 4 || context == NULL ||
		SSL_CTX_use_certificate_file(context, argv[1], SSL_FILETYPE_PEM) != 1 ||
		SSL_CTX_use_PrivateKey_file(context, argv[2], SSL_FILETYPE_PEM) != 1) {
		fprintf(stderr, "usage: tls_relay CERTIFICATE KEY SOCKET\n");
		return 1;
	}
	signal(SIGCHLD, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	int listener = listen_on_loopback();
	for (;;) {
		int client = accept(listener, NULL, NULL);
		pid_t child = client < 0 ? -1 : fork();
		if (child < 0)
			fail("accept");
		if (child == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			close(listener);
			serve(context, client, argv[3]);
			_exit(0);
		}
		close(client);
	}
}
