/* durability.c: see durability.h. */
#include "feed/durability.h"

#include "core/clock.h"
#include "core/ring/ring.h"

enum {
	/* this part of the ring may be unsynced, and no more than so many bytes: then a checkpoint begins at once */
	UNSYNCED_DIVISOR = 64,
	UNSYNCED_MAX = 8 * 1024 * 1024,
	FIRST_DELAY_US = 50 * MILLISECOND,
	PROGRESS_INTERVAL_US = 1 * SECOND,
	BACK_OFF_MIN_US = 100 * MILLISECOND,
	BACK_OFF_MAX_US = 5 * SECOND,
};

bool durability_start(struct durability *durability, const struct ring *ring, struct ring_writer *writer)
{
	uint64_t part = ring_capacity(ring) / UNSYNCED_DIVISOR;
	*durability = (struct durability){
		.writer = writer,
		.live = ring_live(ring),
		.syncer = syncer_start(writer),
		.unsynced_max = part < UNSYNCED_MAX ? part : UNSYNCED_MAX,
		.back_off_us = BACK_OFF_MIN_US,
		.current = true,
	};
	return durability->syncer != NULL;
}

static bool is_due(const struct durability *durability, bool urgent, uint64_t unsynced, int64_t now_us)
{
	if (now_us < durability->retry_due_us)
		return false;
	if (urgent || unsynced > durability->unsynced_max)
		return true;
	if (unsynced > 0)
		return now_us >= durability->unsynced_since_us + FIRST_DELAY_US;
	return now_us >= durability->progress_due_us;
}

void durability_step(struct durability *durability, bool urgent, int64_t now_us)
{
	uint64_t unsynced = ring_writer_unsynced(durability->writer);

	if (unsynced == 0)
		durability->unsynced_since_us = 0; /* what was seen during a checkpoint was in it */
	else if (durability->unsynced_since_us == 0)
		durability->unsynced_since_us = now_us;
	if (syncer_running(durability->syncer) || !is_due(durability, urgent, unsynced, now_us))
		return;
	syncer_begin(durability->syncer);
	durability->unsynced_since_us = 0;
	durability->progress_due_us = now_us + PROGRESS_INTERVAL_US;
}

int64_t durability_deadline_us(const struct durability *durability)
{
	if (syncer_running(durability->syncer))
		return INT64_MAX; /* its descriptor tells */
	int64_t due_us = durability->unsynced_since_us != 0 ? durability->unsynced_since_us + FIRST_DELAY_US
														: durability->progress_due_us;
	return due_us > durability->retry_due_us ? due_us : durability->retry_due_us;
}

int durability_fd(const struct durability *durability)
{
	return syncer_fd(durability->syncer);
}

/* Takes note of how a checkpoint ended. */
static void note_end(struct durability *durability, int error)
{
	durability->error = error;
	if (error == 0) {
		durability->current = true;
		durability->back_off_us = BACK_OFF_MIN_US;
		durability->retry_due_us = 0;
		return;
	}
	durability->retry_due_us = clock_monotonic_us() + durability->back_off_us;
	durability->back_off_us *= 2;
	if (durability->back_off_us > BACK_OFF_MAX_US)
		durability->back_off_us = BACK_OFF_MAX_US;
}

bool durability_finish(struct durability *durability)
{
	uint64_t before = durability_lsn(durability);
	note_end(durability, syncer_finish(durability->syncer));
	return durability_lsn(durability) != before;
}

bool durability_wait(struct durability *durability, int timeout_ms)
{
	int error;
	if (!syncer_running(durability->syncer))
		return true;
	if (!syncer_wait(durability->syncer, timeout_ms, &error))
		return false;
	note_end(durability, error);
	return true;
}

void durability_forget(struct durability *durability)
{
	durability->current = false;
	durability->progress_due_us = 0;
}

uint64_t durability_lsn(const struct durability *durability)
{
	if (!durability->current)
		return 0;
	return live_figure(&durability->live->durable_lsn);
}

bool durability_stop(struct durability *durability, int timeout_ms)
{
	int64_t deadline_us = clock_monotonic_us() + (int64_t)timeout_ms * MILLISECOND;

	if (!durability_wait(durability, timeout_ms))
		return false;
	if (syncer_begin(durability->syncer) &&
		!durability_wait(durability, clock_poll_timeout(clock_monotonic_us(), deadline_us)))
		return false;
	syncer_stop(durability->syncer);
	durability->syncer = NULL;
	return true;
}
