/* durability.c: see durability.h. */
#include "feed/durability.h"

#include "core/clock.h"
#include "core/ring/ring.h"

enum {
	CAPACITY_SHARE = 64, /* of the ring that may be unsynced */
	MUCH_MAX = 8 * 1024 * 1024,
	FIRST_DELAY = 50 * MILLISECOND,
	PROGRESS_INTERVAL = 1 * SECOND,
	BACK_OFF_MIN = 100 * MILLISECOND,
	BACK_OFF_MAX = 5 * SECOND,
};

bool durability_start(struct durability *durability, const struct ring *ring, struct ring_writer *writer)
{
	uint64_t share = ring_capacity(ring) / CAPACITY_SHARE;
	*durability = (struct durability){
		.writer = writer,
		.live = ring_live(ring),
		.syncer = syncer_start(writer),
		.much = share < MUCH_MAX ? share : MUCH_MAX,
		.back_off = BACK_OFF_MIN,
		.current = true,
	};
	return durability->syncer != NULL;
}

static bool is_due(const struct durability *durability, bool urgent, uint64_t unsynced, int64_t now)
{
	if (now < durability->retry_at)
		return false;
	if (urgent || unsynced > durability->much)
		return true;
	if (unsynced > 0)
		return now >= durability->first_at + FIRST_DELAY;
	return now >= durability->progress_at;
}

void durability_step(struct durability *durability, bool urgent, int64_t now)
{
	uint64_t unsynced = ring_writer_unsynced(durability->writer);

	if (unsynced == 0)
		durability->first_at = 0; /* what was seen during a checkpoint was in it */
	else if (durability->first_at == 0)
		durability->first_at = now;
	if (syncer_running(durability->syncer) || !is_due(durability, urgent, unsynced, now))
		return;
	syncer_begin(durability->syncer);
	durability->first_at = 0;
	durability->progress_at = now + PROGRESS_INTERVAL;
}

int64_t durability_deadline(const struct durability *durability)
{
	if (syncer_running(durability->syncer))
		return INT64_MAX; /* its descriptor tells */
	int64_t due = durability->first_at != 0 ? durability->first_at + FIRST_DELAY : durability->progress_at;
	return due > durability->retry_at ? due : durability->retry_at;
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
		durability->back_off = BACK_OFF_MIN;
		durability->retry_at = 0;
		return;
	}
	durability->retry_at = clock_monotonic_us() + durability->back_off;
	durability->back_off *= 2;
	if (durability->back_off > BACK_OFF_MAX)
		durability->back_off = BACK_OFF_MAX;
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
	durability->progress_at = 0;
}

uint64_t durability_lsn(const struct durability *durability)
{
	if (!durability->current)
		return 0;
	return live_figure(&durability->live->durable_lsn);
}

bool durability_stop(struct durability *durability, int timeout_ms)
{
	int64_t deadline = clock_monotonic_us() + (int64_t)timeout_ms * MILLISECOND;

	if (!durability_wait(durability, timeout_ms))
		return false;
	if (syncer_begin(durability->syncer) &&
		!durability_wait(durability, clock_poll_timeout(clock_monotonic_us(), deadline)))
		return false;
	syncer_stop(durability->syncer);
	durability->syncer = NULL;
	return true;
}
