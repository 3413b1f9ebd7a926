/*
 * ring_model.c: one writer goes round a small ring as fast as it can while forked readers follow, slow down
 * and fall behind. Each reader checks every record against the model: ids without a hole except where it was
 * overrun, and there exactly as many missing as the ring says; every body whole. One more looks for what
 * comes next by time, again and again.
 */
#include "tap.h"

#include <sys/wait.h>

#include "ring_fixture.h"

enum { READERS = 4, TRANSACTIONS = 60000, CHANGES = 3, FIRST_LSN = 1060, STEP = 100 };

static struct fixture fixture;

/* The place of a change in the model: transactions have CHANGES each and follow each other by STEP. */
static uint64_t ordinal(struct cursor id)
{
	return (id.lsn - FIRST_LSN) / STEP * CHANGES + id.n;
}

static int reader_fail(const char *what, struct cursor id, uint64_t wanted)
{
	fprintf(stderr, "# reader %d: %s at %" PRIu64 "-%" PRIu64 " (%" PRIu64 "), wanted %" PRIu64 "\n",
			(int)getpid(), what, id.lsn, id.n, ordinal(id), wanted);
	return 1;
}

static int run_reader(const char *path, unsigned slowness)
{
	const struct filter all = {.all_collections = true, .operations = OPERATIONS_ALL};
	struct start earliest = {.kind = CURSOR_EARLIEST};
	struct gap_counter counter = {0};
	struct buffer body = {0};
	struct place place;
	struct record record;
	struct ring *ring;
	uint64_t first, seen, lost = 0, bodies = 0;

	if (ring_file_open(path, RING_ACCESS_READ, &ring) != RING_FILE_OK)
		return 2;
	ring_seek(ring, &earliest, &place);
	first = seen = place.cursor.n > 0 ? ordinal(place.cursor) : 0;
	while (seen < (uint64_t)TRANSACTIONS * CHANGES) {
		enum ring_read result = ring_read(ring, place.position, &record);
		if (result == RING_READ_OK) {
			body.size = 0;
			result = ring_read_body(ring, &record, &body);
		}
		if (result == RING_READ_OVERRUN) {
			uint64_t gap = ring_skip_evicted(ring, &all, &place, &counter);
			lost += gap;
			seen += gap;
			continue;
		}
		if (result == RING_READ_END)
			continue;
		if (record.kind == RECORD_CHANGE) {
			if (ordinal(record.change.id) != ++seen)
				return reader_fail("out of order", record.change.id, seen);
			if (!fixture_body_whole(record.change.id, buffer_bytes(&body)))
				return reader_fail("torn body", record.change.id, seen);
			if (++bodies % 1000 == 0 && slowness > 0)
				usleep(slowness); /* not to wait for anything: to be lapped */
		}
		place_advance(&place, &record);
	}
	printf("# a reader that pauses %u us read %" PRIu64 " changes and was told of %" PRIu64 " lost\n",
		   slowness, bodies, lost);
	return first + bodies + lost == (uint64_t)TRANSACTIONS * CHANGES
			   ? 0
			   : reader_fail("incomplete", place.cursor, bodies);
}

/* The id of the first change from a place on. Returns false if the place is head. */
static bool first_id(const struct ring *ring, struct place place, struct cursor *ret_id)
{
	struct record record;
	while (ring_read(ring, place.position, &record) == RING_READ_OK) {
		if (record.kind == RECORD_CHANGE) {
			*ret_id = record.change.id;
			return true;
		}
		place_advance(&place, &record);
	}
	return false;
}

/* Goes from transaction to transaction, with the time of the last one to start from. */
static int run_reader_by_time(const char *path)
{
	uint64_t last = FIRST_LSN - STEP, found = 0;
	struct ring *ring;

	if (ring_file_open(path, RING_ACCESS_READ, &ring) != RING_FILE_OK)
		return 2;
	while (last < FIRST_LSN + (uint64_t)(TRANSACTIONS - 1) * STEP) {
		struct start start = {.kind = CURSOR_TIME, .since_us = (int64_t)last * 10 + 1};
		struct place place;
		struct cursor id;

		ring_seek(ring, &start, &place);
		if (!first_id(ring, place, &id) || id.lsn == last)
			continue; /* nothing yet, or the rest of the last transaction */
		bool lapped = ring_oldest(ring).cursor.lsn > last;
		if (!lapped && (id.lsn != last + STEP || id.n != 1))
			return reader_fail("skipped by time", id, ordinal((struct cursor){last + STEP, 1, 0}));
		last = id.lsn;
		found++;
	}
	printf("# a reader by time found %" PRIu64 " transactions\n", found);
	return 0;
}

/* The last one is the reader by time. */
static int run_child(const char *path, unsigned i)
{
	return i < READERS ? run_reader(path, i * 2000) : run_reader_by_time(path);
}

int main(void)
{
	pid_t readers[READERS + 1];
	fixture_make(&fixture, RING_MIN_CAPACITY);
	fixture_checkpoint(&fixture);
	fflush(stdout);
	for (unsigned i = 0; i <= READERS; i++) {
		readers[i] = fork();
		if (readers[i] == 0) {
			int result = run_child(fixture.path, i);
			fflush(stdout);
			_exit(result);
		}
	}
	for (int i = 0; i < TRANSACTIONS; i++) {
		fixture_transaction(&fixture, CHANGES);
		if (i % 7 == 0)
			ring_writer_publish(fixture.writer);
	}
	fixture_checkpoint(&fixture);
	for (unsigned i = 0; i <= READERS; i++) {
		int status = -1;
		waitpid(readers[i], &status, 0);
		ok(WIFEXITED(status) && WEXITSTATUS(status) == 0, "reader %u saw every change once, or %s", i,
		   i < READERS ? "was told exactly how many it lost" : "found what comes next by time");
	}
	fixture_remove(&fixture);
	return tap_end();
}
