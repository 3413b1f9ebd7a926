/*
 * live.h: the part of the ring file that is only true while the processes run: how far the feed is, what it
 * is doing, who sleeps. Mapped by feed, workers, master (read and write) and by backends (read only). After a
 * crash of the machine its contents mean nothing; whoever opens the file for writing sets it anew.
 *
 * Every field names its one writer. All are atomics: relaxed, except where an order is written down.
 */
#ifndef CHANGEFEED_LIVE_H
#define CHANGEFEED_LIVE_H

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

/* A text that one process writes and others read: the writer makes `version` odd, writes, makes it even. */
struct live_message {
	_Atomic uint32_t version;
	_Atomic char text[LIVE_MESSAGE_SIZE];
};

/* One worker's figures and its bed. Writer: that worker, except `sleeping`. */
struct live_worker {
	_Alignas(64) _Atomic int32_t pid; /* 0: free. Writer: the master */
	_Atomic uint32_t sleeping;        /* set by the worker (seq_cst, then it looks at head again); cleared by
									   * whoever wakes it, the feed or itself; pairs with wake_workers() */
	_Atomic uint64_t wanted; /* what to be woken for: live_collection_bit() of each; set before sleeping */
	_Atomic uint64_t connections; /* open now */
	_Atomic uint64_t streams;     /* open now */
	_Atomic uint64_t polls_waiting;
	_Atomic uint64_t connections_total;
	_Atomic uint64_t requests_total;
	_Atomic uint64_t streams_total;
	_Atomic uint64_t polls_total;
	_Atomic uint64_t errors_total; /* 4xx and 5xx answers */
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
	_Atomic uint64_t
		history; /* its number, 0 before the first connection; stored last, release, when one begins */
	_Atomic uint64_t history_lsn; /* cursors before it are from another history */
	_Atomic uint64_t run_floor;
	_Atomic uint64_t run_head;         /* release after the entry is written */
	_Atomic uint32_t collection_count; /* release after the entry is written */
	_Atomic uint64_t durable_lsn;      /* what may be confirmed to the slot */
	_Atomic int64_t last_commit_us;    /* of the last change appended */
	_Atomic uint64_t changes_total;
	_Atomic uint64_t transactions_total;
	_Atomic uint64_t appended_bytes_total;
	_Atomic uint64_t checkpoints_total;
	_Atomic uint64_t boot; /* which run of the kernel the index belongs to; another one: it is built anew */

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
	_Atomic uint64_t
		refresh_done;            /* the value of refresh_asked that catalog and server_lsn answer; release */
	struct live_message message; /* what the feed is doing or waiting for, one line */
	struct live_message origin;  /* "system_identifier timeline slot database" of the history, stored before
									it; empty before the first connection: then the ring's own identity
									holds */

	/* ---- written by many ---- */
	_Atomic uint64_t damaged; /* `boot`, once feed or worker found bytes that are no record: the master makes
							   * the file anew */
	_Alignas(64) _Atomic uint64_t
		refresh_asked; /* workers add 1 and wake the feed: look at the catalog and the WAL's end now */

	/* ---- written by the master ---- */
	_Alignas(64) _Atomic int32_t master_pid;
	_Atomic int64_t started_us;
	_Atomic uint64_t reloads_total;
	_Atomic uint64_t worker_deaths_total;
	_Atomic uint64_t feed_deaths_total;
	struct live_message config_message; /* empty, or why the last h2o.conf was not taken */

	struct live_worker workers[LIVE_WORKERS_MAX];
};

/* Loads with acquire: what was stored before this value was released is seen behind it. */
static inline uint64_t live_load(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_acquire);
}

const char *feed_state_name(uint32_t state);

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

/* Collections share bits: who wants one may be woken for another, which only costs time. */
#define LIVE_WANTS_ALL UINT64_MAX

static inline uint64_t live_collection_bit(uint32_t collection)
{
	return UINT64_C(1) << collection % 64;
}

/* Replaces the text; cut at LIVE_MESSAGE_SIZE - 1 bytes, never inside a UTF-8 character. One writer at a
 * time. */
void live_message_set(struct live_message *message, const char *text);

/* Copies the text, 0-terminated. Gives up after some tries with what it has. */
void live_message_get(const struct live_message *message, char ret_text[LIVE_MESSAGE_SIZE]);

#endif
