/* quota.c: see quota.h. */
#include "http/quota.h"

#include <netinet/in.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <xxhash.h>

#include "core/clock.h"
#include "core/ring/live.h"

enum {
	WAYS = 8, /* entries of a set */
	CONNECTION_SETS = 8192,
	REQUEST_SETS = 4096,
	COUNT_BITS = 24,
};

#define COUNT_MASK ((UINT64_C(1) << COUNT_BITS) - 1)

/*
 * Name and count of an address are one word, so that a reader never sees the count of one under the name of
 * another: the upper bits of the key, then the count. With a count of 0 the entry is free.
 */
struct connection_table {
	_Alignas(64) _Atomic uint32_t open; /* in all entries; writer: the worker, the master when it is dead */
	_Alignas(64) _Atomic uint64_t sets[CONNECTION_SETS][WAYS]; /* likewise */
};

struct request_bucket {
	_Atomic uint64_t key;    /* 0: free */
	_Atomic int64_t full_us; /* when it will be full if nothing more is taken */
};

struct quota {
	uint64_t seed; /* set once */
	struct connection_table connections[LIVE_WORKERS_MAX];
	struct request_bucket requests[REQUEST_SETS][WAYS]; /* writers: all workers */
};

struct quota *quota_create(void)
{
	/* most pages are never touched, and cost nothing then */
	struct quota *quota =
		mmap(NULL, sizeof(*quota), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (quota == MAP_FAILED)
		return NULL;
	if (getrandom(&quota->seed, sizeof(quota->seed), 0) == (ssize_t)sizeof(quota->seed))
		return quota;
	munmap(quota, sizeof(*quota));
	return NULL;
}

uint64_t quota_key(const struct quota *quota, const struct sockaddr *address)
{
	uint64_t key = 0;

	if (address->sa_family == AF_INET)
		key = XXH3_64bits_withSeed(&((const struct sockaddr_in *)address)->sin_addr, 4, quota->seed);
	else if (address->sa_family == AF_INET6)
		key = XXH3_64bits_withSeed(&((const struct sockaddr_in6 *)address)->sin6_addr, 8, quota->seed);
	else
		return 0;
	return key | 1;
}

/* ---- connections: relaxed, a count is worth having even if it is a moment old */

static uint64_t load(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

static void store(_Atomic uint64_t *word, uint64_t value)
{
	atomic_store_explicit(word, value, memory_order_relaxed);
}

static _Atomic uint64_t *connection_set(struct connection_table *table, uint64_t key)
{
	return table->sets[(key >> 1) % CONNECTION_SETS];
}

static bool names(uint64_t word, uint64_t key)
{
	return (word & COUNT_MASK) != 0 && (word & ~COUNT_MASK) == (key & ~COUNT_MASK);
}

/* The entry of the address, or NULL. */
static _Atomic uint64_t *connection_entry(struct connection_table *table, uint64_t key)
{
	_Atomic uint64_t *set = connection_set(table, key);
	for (int way = 0; way < WAYS; way++) {
		if (names(load(&set[way]), key))
			return &set[way];
	}
	return NULL;
}

static _Atomic uint64_t *free_entry(struct connection_table *table, uint64_t key)
{
	_Atomic uint64_t *set = connection_set(table, key);
	for (int way = 0; way < WAYS; way++) {
		if ((load(&set[way]) & COUNT_MASK) == 0)
			return &set[way];
	}
	return NULL;
}

static void change_open(struct connection_table *table, int by)
{
	uint32_t open = atomic_load_explicit(&table->open, memory_order_relaxed);
	atomic_store_explicit(&table->open, open + (uint32_t)by, memory_order_relaxed);
}

unsigned quota_connect(struct quota *quota, unsigned worker, uint64_t key)
{
	struct connection_table *own = &quota->connections[worker];
	_Atomic uint64_t *entry = connection_entry(own, key);
	unsigned sum = 0;

	if (entry != NULL)
		store(entry, load(entry) + 1);
	else if ((entry = free_entry(own, key)) != NULL)
		store(entry, (key & ~COUNT_MASK) + 1);
	else
		return 0;
	change_open(own, 1);
	for (unsigned other = 0; other < LIVE_WORKERS_MAX; other++) {
		struct connection_table *table = &quota->connections[other];
		if (atomic_load_explicit(&table->open, memory_order_relaxed) == 0)
			continue;
		entry = connection_entry(table, key);
		sum += entry == NULL ? 0 : (unsigned)(load(entry) & COUNT_MASK);
	}
	return sum;
}

void quota_disconnect(struct quota *quota, unsigned worker, uint64_t key)
{
	struct connection_table *own = &quota->connections[worker];
	_Atomic uint64_t *entry = connection_entry(own, key);

	if (entry == NULL)
		return;
	store(entry, load(entry) - 1);
	change_open(own, -1);
}

void quota_forget_worker(struct quota *quota, unsigned worker)
{
	struct connection_table *table = &quota->connections[worker];

	if (atomic_load_explicit(&table->open, memory_order_relaxed) == 0)
		return;
	for (int set = 0; set < CONNECTION_SETS; set++) {
		for (int way = 0; way < WAYS; way++)
			store(&table->sets[set][way], 0);
	}
	atomic_store_explicit(&table->open, 0, memory_order_relaxed);
}

/* ---- requests */

/* The address's bucket, or a full one of another address, which is as good as a new one. NULL: no room. */
static struct request_bucket *request_bucket(struct quota *quota, uint64_t key, int64_t now_us)
{
	struct request_bucket *set = quota->requests[(key >> 1) % REQUEST_SETS];

	for (int way = 0; way < WAYS; way++) {
		if (load(&set[way].key) == key)
			return &set[way];
	}
	for (int way = 0; way < WAYS; way++) {
		uint64_t other = load(&set[way].key);
		if (atomic_load_explicit(&set[way].full_us, memory_order_relaxed) <= now_us &&
			atomic_compare_exchange_strong(&set[way].key, &other, key))
			return &set[way];
	}
	return NULL;
}

bool quota_request(struct quota *quota, uint64_t key, unsigned per_second, int64_t now_us)
{
	struct request_bucket *bucket = request_bucket(quota, key, now_us);
	int64_t full_us, next_us;

	if (bucket == NULL)
		return true;
	full_us = atomic_load_explicit(&bucket->full_us, memory_order_relaxed);
	do {
		next_us = (full_us > now_us ? full_us : now_us) + SECOND / per_second;
		if (next_us > now_us + SECOND)
			return false;
	} while (!atomic_compare_exchange_weak(&bucket->full_us, &full_us, next_us));
	return true;
}
