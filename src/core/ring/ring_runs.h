/*
 * ring_runs.h: the run log, which remembers what was evicted: see ring_layout.h.
 *
 * The writer logs each record that it evicts, in the checkpoint that it works on; readers look up what came
 * before the oldest record, and count gaps. Entries below run_head never change, but for the last one, which
 * grows, and the end_distance of those of one transaction.
 */
#ifndef CHANGEFEED_CORE_RING_RING_RUNS_H
#define CHANGEFEED_CORE_RING_RING_RUNS_H

#include "core/ring/ring_layout.h"

/* The most entries that may be logged behind those of the last durable checkpoint, which are still needed. */
uint64_t ring_runs_step(const struct ring *ring);

/* Logs a change that is being evicted: the last run grows by it, or it begins another one. */
void ring_runs_log_change(struct ring *ring, struct ring_checkpoint *state,
						  const struct ring_record_header *header);

/* The same for a commit record: now the end of the transaction is known, with which a bare LSN is compared. */
void ring_runs_log_commit(struct ring *ring, const struct ring_checkpoint *state, uint64_t commit_lsn,
						  uint64_t end_lsn);

/* Moves the floor a step ahead of what is overwritten next, and lets readers see the log as it is now. */
void ring_runs_keep_room(struct ring *ring, struct ring_checkpoint *state);

/* Begins the log with that of another ring, as far as it fits. */
void ring_runs_take(struct ring *to, struct ring_checkpoint *state, const struct ring *from);

static inline struct ring_run ring_run_at(const struct ring *ring, uint64_t i)
{
	return ring->runs[i % ring->sections.run_capacity];
}

static inline struct cursor ring_run_last_id(const struct ring_run *run)
{
	if (run->operation == OPERATION_MESSAGE)
		return (struct cursor){run->commit_lsn, run->first_n, run->count};
	return (struct cursor){.lsn = run->commit_lsn, .n = run->first_n + run->count - 1};
}

/* The last evicted run of a transaction with a commit_lsn below `lsn`; all 0 if there is none. */
struct ring_run ring_runs_evicted_before(const struct ring *ring, uint64_t lsn);

/* Whether the log can tell that no transaction has this commit_lsn: it reaches back that far, and has none. */
bool ring_runs_evicted_unknown(const struct ring *ring, uint64_t commit_lsn);

/* Whether changes after the cursor, of any collection, were evicted. */
bool ring_runs_evicted_after(const struct ring *ring, struct cursor cursor);

/*
 * How many of the evicted changes between two cursors the filter wants, as far as the log reaches back; where it
 * does not, 1 at least if there may have been any. Returns false, *ret_count untouched, if the writer overwrote
 * what was read.
 */
bool ring_runs_count(const struct ring *ring, const struct filter *filter, struct cursor after,
					 struct cursor until, struct gap_counter *counter, uint64_t *ret_count);

#endif
