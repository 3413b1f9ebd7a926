/* quota.c: what each address has, counted over workers that are processes, and what is left when they die. */
#include "http/quota.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/ring/live.h"
#include "tap.h"

enum { CROWD = 20000 };

static struct quota *quota;

static uint64_t key_of(const char *text)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)random())};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)random())};

	if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
		return quota_key(quota, (struct sockaddr *)&v4);
	inet_pton(AF_INET6, text, &v6.sin6_addr);
	return quota_key(quota, (struct sockaddr *)&v6);
}

static void test_keys(void)
{
	struct sockaddr_un local = {.sun_family = AF_UNIX};

	ok(key_of("192.0.2.1") == key_of("192.0.2.1"), "an address has one key, whatever its port");
	ok(key_of("192.0.2.1") != key_of("192.0.2.2"), "another address has another one");
	ok(key_of("2001:db8::1") == key_of("2001:db8::ffff:1"), "an IPv6 network of 64 bits is one client");
	ok(key_of("2001:db8::1") != key_of("2001:db8:0:1::1"), "the next network is another one");
	is_u64(quota_key(quota, (struct sockaddr *)&local), 0, "a Unix socket's client is not counted");
}

static void test_connections(void)
{
	uint64_t ann = key_of("192.0.2.1"), bob = key_of("192.0.2.2");

	is_u64(quota_connect(quota, 0, ann), 1, "the first connection");
	is_u64(quota_connect(quota, 0, ann), 2, "a second one");
	is_u64(quota_connect(quota, 1, ann), 3, "a third one, with another worker");
	is_u64(quota_connect(quota, 1, bob), 1, "another address is counted apart");
	quota_disconnect(quota, 0, ann);
	is_u64(quota_connect(quota, LIVE_WORKERS_MAX - 1, ann), 3, "a closed one is given back");
	quota_disconnect(quota, LIVE_WORKERS_MAX - 1, ann);
	quota_forget_worker(quota, 1);
	is_u64(quota_connect(quota, 1, bob), 1, "nothing is left of a worker that died");
	is_u64(quota_connect(quota, 1, ann), 2, "and what others hold is still counted");
	quota_forget_worker(quota, 0);
	quota_forget_worker(quota, 1);
}

/* A worker in a process of its own that is killed while it holds connections. */
static void test_killed_worker(void)
{
	uint64_t ann = key_of("192.0.2.1");
	int ready[2];
	char byte;

	if (!ok(pipe(ready) == 0, "a pipe"))
		return;
	pid_t pid = fork();
	if (pid == 0) {
		for (int i = 0; i < 100; i++)
			quota_connect(quota, 3, ann);
		if (write(ready[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	ok(read(ready[0], &byte, 1) == 1, "a worker has 100 connections");
	is_u64(quota_connect(quota, 4, ann), 101, "another one sees them");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	quota_forget_worker(quota, 3);
	is_u64(quota_connect(quota, 4, ann), 2, "kill -9 gives them back");
	quota_forget_worker(quota, 4);
	close(ready[0]);
	close(ready[1]);
}

static void test_crowd(void)
{
	static uint64_t keys[CROWD];
	unsigned wrong = 0, uncounted = 0;

	for (uint32_t i = 0; i < CROWD; i++) {
		struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a000000 + i)};
		keys[i] = quota_key(quota, (struct sockaddr *)&address);
		unsigned count = quota_connect(quota, 5, keys[i]);
		uncounted += count == 0;
		wrong += count > 1;
		if (count == 0)
			keys[i] = 0;
	}
	is_u64(wrong, 0, "%d addresses with a connection each: none is taken for another one", CROWD);
	ok(uncounted < CROWD / 100, "nearly all of them are counted (%u are not)", uncounted);
	for (uint32_t i = 0; i < CROWD; i++)
		wrong += keys[i] != 0 && quota_connect(quota, 5, keys[i]) != 2;
	is_u64(wrong, 0, "a second connection of each is found to be its second");
	for (uint32_t i = 0; i < CROWD; i++) {
		if (keys[i] == 0)
			continue;
		quota_disconnect(quota, 5, keys[i]);
		quota_disconnect(quota, 5, keys[i]);
		wrong += quota_connect(quota, 6, keys[i]) != 1;
		quota_disconnect(quota, 6, keys[i]);
	}
	is_u64(wrong, 0, "and nothing is left when they are gone");
}

static unsigned requests_until_refused(uint64_t key, unsigned per_second, int64_t now_us)
{
	unsigned count = 0;
	while (count <= 2 * per_second && quota_request(quota, key, per_second, now_us))
		count++;
	return count;
}

static void test_requests(void)
{
	uint64_t ann = key_of("192.0.2.1"), bob = key_of("192.0.2.2");
	int64_t now = 1000 * (int64_t)SECOND;

	is_u64(requests_until_refused(ann, 10, now), 10, "a second's worth of requests at once");
	is_u64(requests_until_refused(bob, 10, now), 10, "another address has its own");
	ok(!quota_request(quota, ann, 10, now + SECOND / 10 - 1), "not one more before its time");
	ok(quota_request(quota, ann, 10, now + SECOND / 10), "one more after a tenth of a second");
	ok(!quota_request(quota, ann, 10, now + SECOND / 10), "and no other");
	is_u64(requests_until_refused(ann, 10, now + SECOND / 2), 4, "what was not taken is saved up");
	is_u64(requests_until_refused(ann, 10, now + 100 * SECOND), 10, "for a second, not longer");
}

/* Workers that take tokens of one bucket at the same time. */
static void test_shared_bucket(void)
{
	uint64_t carl = key_of("192.0.2.3");
	int64_t now = 2000 * (int64_t)SECOND;
	int taken[2];
	unsigned sum = 0, count;

	if (!ok(pipe(taken) == 0, "a pipe"))
		return;
	for (int worker = 0; worker < 4; worker++) {
		if (fork() == 0) {
			count = requests_until_refused(carl, 1000, now);
			_exit(write(taken[1], &count, sizeof(count)) == (ssize_t)sizeof(count) ? 0 : 1);
		}
	}
	close(taken[1]);
	while (read(taken[0], &count, sizeof(count)) == (ssize_t)sizeof(count))
		sum += count;
	while (wait(NULL) > 0) {
	}
	close(taken[0]);
	is_u64(sum, 1000, "four workers together let no more requests pass than one would");
}

int main(void)
{
	quota = quota_create();
	if (!ok(quota != NULL, "shared memory"))
		return tap_end();
	test_keys();
	test_connections();
	test_killed_worker();
	test_crowd();
	test_requests();
	test_shared_bucket();
	return tap_end();
}
