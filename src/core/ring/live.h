/*
 * live.h: the part of the ring file that is only true while the processes run: how far the feed is, what it
 * is doing, who sleeps. Mapped by feed, workers, master (read and write) and by backends (read only). After a
 * crash of the machine its contents mean nothing; whoever opens the file for writing sets it again.
 *
 * Each field says who writes it. There are two kinds of them. Words tell how far something has gone that is
 * to be read next: live_store() releases, live_load() acquires. Figures tell of nothing else, are relaxed,
 * and have one writer each: live_figure() and its like.
 */
#ifndef CHANGEFEED_CORE_RING_LIVE_H
#define CHANGEFEED_CORE_RING_LIVE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { RING_NAME_SIZE = 64, LIVE_WORKERS_MAX = 64, LIVE_MESSAGE_SIZE = 512 };

/* What the feed is doing. Successors: each state may also go to FEED_RETRYING, and to FEED_STOPPED. */
enum feed_state {
	FEED_STOPPED,    /* -> CONNECTING */
	FEED_CONNECTING, /* -> PREPARING */
	FEED_PREPARING,  /* slot, publication, catalog -> STREAMING */
	FEED_STREAMING,  /* -> RETRYING */
	FEED_RETRYING,   /* something is missing or broke, `message` says what; waits -> CONNECTING */
};

/* What a history belongs to. Names are 0-terminated. */
struct ring_identity {
	uint64_t system_identifier;
	uint32_t timeline;
	uint32_t reserved;
	char database[RING_NAME_SIZE];
	char slot[RING_NAME_SIZE];
	char publication[RING_NAME_SIZE];
};

/* A text that one process writes and others read: the writer makes `version` odd, writes, makes it even. */
struct live_message {
	_Atomic uint32_t version;
	_Atomic char text[LIVE_MESSAGE_SIZE];
};

/* Likewise, but it is the checksum that tells whether all of it is there: also after a crash of the machine. */
struct live_identity {
	_Atomic uint64_t checksum; /* XXH3 */
	_Atomic char bytes[sizeof(struct ring_identity)];
};

/* One worker's figures, and what the feed needs to wake it. Writer: that worker; once it is dead the master,
 * which sets the gauges to 0. */
struct live_worker {
	_Alignas(64) _Atomic int32_t pid; /* 0: free. Writer: the master */
	_Atomic uint32_t sleeping;        /* see live_sleep(). Writers: also the feed, which wakes it */
	_Atomic uint64_t wanted;          /* what to be woken for: live_collection_bit() of each */
	_Atomic uint64_t connections;     /* open now */
	_Atomic uint64_t streams;         /* open now */
	_Atomic uint64_t polls_waiting;
	_Atomic uint64_t connections_total;
	_Atomic uint64_t requests_total;
	_Atomic uint64_t streams_total;
	_Atomic uint64_t polls_total;
	_Atomic uint64_t errors_total; /* problem documents */
	_Atomic uint64_t events_total; /* changes handed to clients, SSE and poll */
	_Atomic uint64_t sent_bytes_total;
	_Atomic uint64_t gaps_total;
	_Atomic uint64_t lagged_events_total;
	_Atomic uint64_t reaped_total; /* stalled clients that were shut down */
	_Atomic uint64_t renders_total;
	_Atomic uint64_t refused_total; /* connections and requests over the limits of their address */
	_Atomic uint64_t floods_total;  /* connections that were cut off because they flooded */
};

struct ring_live {
	/* ---- written by the feed, through ring_writer ---- */
	_Alignas(64) _Atomic uint64_t head; /* release; see ring_layout.h */
	_Alignas(64) _Atomic uint64_t tail;
	_Alignas(64) _Atomic uint64_t streamed_lsn; /* stored after head, release; load it before head, acquire */
	/* its number, 0 before the first connection; see ring_publish_state() for the moment when one begins */
	_Atomic uint64_t history;
	struct live_identity identity; /* whose history it is; stored before it */
	_Atomic uint64_t history_lsn;  /* cursors before it are from another history */
	_Atomic uint64_t run_floor;
	_Atomic uint64_t run_head;         /* release after the entry is written */
	_Atomic uint32_t collection_count; /* release after the entry is written */
	_Atomic uint64_t durable_lsn;      /* what may be confirmed to the slot */
	_Atomic int64_t last_commit_us;    /* of the last change appended */
	_Atomic uint64_t changes_total;
	_Atomic uint64_t transactions_total;
	_Atomic uint64_t appended_bytes_total;
	_Atomic uint64_t checkpoints_total;
	_Atomic uint64_t boot; /* which run of the kernel the index belongs to; another one: it is built again */

	/* ---- written by the feed itself; pid, state, its time and message by the master without one ---- */
	_Alignas(64) _Atomic int32_t feed_pid;
	_Atomic uint32_t feed_state; /* enum feed_state */
	_Atomic int64_t feed_state_since_us;
	_Atomic uint64_t confirmed_lsn;      /* up to where the slot is confirmed; 0: there is none */
	_Atomic uint64_t server_lsn;         /* the server's WAL insert position when last seen */
	_Atomic int64_t server_lsn_until_us; /* CLOCK_MONOTONIC: after it server_lsn is out of date; 0: it is */
	_Atomic uint64_t received_bytes_total;
	_Atomic uint64_t reconnects_total;
	_Atomic uint64_t catalog_generation; /* moves on when collections or what is published changed; release */
	/* the value of refresh_asked that catalog and server_lsn answer; release */
	_Atomic uint64_t refresh_done;
	struct live_message message; /* what the feed is doing or waiting for, one line */

	/* ---- written by many ---- */
	/* `boot`, once feed or worker found bytes that are no record: the master makes a new file */
	_Atomic uint64_t damaged;
	/* workers add 1 and wake the feed: look at the catalog and the WAL's end now */
	_Alignas(64) _Atomic uint64_t refresh_asked;

	/* ---- written by the master ---- */
	_Alignas(64) _Atomic int32_t master_pid;
	_Atomic int64_t started_us;
	_Atomic uint64_t reloads_total;
	_Atomic uint64_t worker_deaths_total;
	_Atomic uint64_t feed_deaths_total;
	struct live_message config_message; /* empty, or why the last h2o.conf was not taken */

	struct live_worker workers[LIVE_WORKERS_MAX];
};

/* These take words of any type, as the operations of stdatomic.h that they stand for do. */
#define live_load(word)         atomic_load_explicit(word, memory_order_acquire)
#define live_store(word, value) atomic_store_explicit(word, value, memory_order_release)

#define live_figure(figure)            atomic_load_explicit(figure, memory_order_relaxed)
#define live_figure_set(figure, value) atomic_store_explicit(figure, value, memory_order_relaxed)

static inline void live_figure_add(_Atomic uint64_t *figure, uint64_t count)
{
	live_figure_set(figure, live_figure(figure) + count);
}

static inline void live_figure_subtract(_Atomic uint64_t *figure, uint64_t count)
{
	live_figure_set(figure, live_figure(figure) - count);
}

enum feed_state live_feed_state(const struct ring_live *live);
const char *feed_state_name(enum feed_state state);

enum { LIVE_FEED_TEXT_SIZE = LIVE_MESSAGE_SIZE + 16 };

/* "retrying: connection refused": what the feed is, and its message if there is one. */
void live_feed_text(const struct ring_live *live, char ret_text[LIVE_FEED_TEXT_SIZE]);

/*
 * How much WAL was written and is not streamed, as of the feed's last look at the server. Returns false if
 * that is not known: nothing was streamed yet, or the server could not be looked at lately.
 */
bool live_lag(const struct ring_live *live, uint64_t *ret_bytes);

/*
 * The same from where the slot is confirmed: what PostgreSQL has to keep for it. It grows without the other
 * one when the disk refuses the ring. Returns false also where there is no slot.
 */
bool live_slot_lag(const struct ring_live *live, uint64_t *ret_bytes);

/* Sums over the workers: gauges of those that run, counters of all that there ever were. */
struct live_totals {
	uint64_t workers, connections, streams, polls_waiting;
	uint64_t connections_total, requests_total, streams_total, polls_total, errors_total, events_total;
	uint64_t sent_bytes_total, gaps_total, lagged_events_total, reaped_total, renders_total, refused_total;
	uint64_t floods_total;
};

struct live_totals live_totals(const struct ring_live *live);

/* Collections share bits: a worker that wants one may be woken for another, which only costs time. */
#define LIVE_WANTS_ALL UINT64_MAX

static inline uint64_t live_collection_bit(uint32_t collection)
{
	return UINT64_C(1) << collection % 64;
}

/*
 * A worker that is about to sleep calls live_sleep(), then looks once more at everything that it waits for.
 * The feed stores what is new, then calls live_wake(). Between its two steps each has a full fence, so that at
 * least one of them sees what the other one did.
 */
void live_sleep(struct live_worker *worker, uint64_t wanted);
void live_awake(struct live_worker *worker);

/* Whether it has asked to be woken, and nobody has. */
bool live_sleeps(const struct live_worker *worker);

/* Which workers (1 << number) sleep and want one of the collections, or all of them. They count as awake from
 * then on: the caller has to write to their eventfds. */
uint64_t live_wake(struct ring_live *live, uint64_t collections);

/* Replaces the text; cut at LIVE_MESSAGE_SIZE - 1 bytes, never inside a UTF-8 character. One writer at a
 * time. */
void live_message_set(struct live_message *message, const char *text);

/* Copies the text, 0-terminated. Gives up after some tries with what it has. */
void live_message_get(const struct live_message *message, char ret_text[LIVE_MESSAGE_SIZE]);

/* One writer at a time. */
void live_identity_set(struct live_identity *live, const struct ring_identity *identity);

/* Returns false, *ret_identity untouched, if there is none, or if its writer died inside. */
bool live_identity_get(const struct live_identity *live, struct ring_identity *ret_identity);

#endif
