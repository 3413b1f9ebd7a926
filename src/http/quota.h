/*
 * quota.h: how many connections and requests each client's address has, counted over all workers.
 *
 * One piece of anonymous memory, made by the master and shared by the workers that it forks. Connections and
 * requests are counted in different ways, because connections have to be given back and requests do not:
 *
 *   connections  Each worker has a table of its own, which only it writes and all read: an address has as
 *                many as the tables say together. When a worker dies, the master clears its table, so
 *                nothing leaks, whatever killed it. Two workers that accept at the same instant may both be
 *                told that theirs is the last one allowed.
 *   requests     One table for all: for each address the time when its bucket of tokens is full again.
 *                Entries grow old by themselves. Workers change them by compare-and-swap.
 *
 * Tables are sets of a few entries; where an address goes is decided by a hash that nobody outside knows. An
 * address that finds no room in its set is not limited. That happens only when thousands of addresses are
 * busy at once, and limits for each of them would not help then.
 *
 * An IPv4 client is its address, an IPv6 client its /64 network (RFC 6177), all of which it may use. Clients
 * of a Unix socket have no address and are not limited.
 */
#ifndef CHANGEFEED_HTTP_QUOTA_H
#define CHANGEFEED_HTTP_QUOTA_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct quota;

/* Memory that children share; it lives as long as the process. NULL, with errno, if there is none. */
struct quota *quota_create(void);

/* What an address is counted under, never 0; 0 for one that is not counted. */
uint64_t quota_key(const struct quota *quota, const struct sockaddr *address);

/*
 * Counts a connection that `worker` has accepted. Returns how many the address has now, this one among them;
 * 0 if it could not be counted, and then quota_disconnect() is not to be called for it.
 */
unsigned quota_connect(struct quota *quota, unsigned worker, uint64_t key);
void quota_disconnect(struct quota *quota, unsigned worker, uint64_t key);

/* Gives back all connections of a worker. It must not run any more. */
void quota_forget_worker(struct quota *quota, unsigned worker);

/*
 * Takes a token from the address's bucket, which holds `per_second` (1 to a million) and is filled at that
 * rate. Returns false if it is empty. `now_us` is of a clock that all workers share and that only goes
 * forward.
 */
bool quota_request(struct quota *quota, uint64_t key, unsigned per_second, int64_t now_us);

#endif
