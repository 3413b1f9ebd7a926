/* ring.c: cursors over a ring, gaps counted exactly, recovery. */
#include "tap.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

#include "core/ring/ring_resize.h"
#include "ring_fixture.h"

static const struct filter everything = {.all_collections = true, .operations = OPERATIONS_ALL};

static struct fixture fixture;
static struct gap_counter counter; /* of the fixture's ring */

static void remove_fixture(void)
{
	gap_counter_free(&counter);
	counter = (struct gap_counter){0};
	fixture_remove(&fixture);
}

static struct place seek(struct start start, enum ring_seek wanted, const char *what)
{
	struct place place = {0};
	enum ring_seek got = ring_seek(fixture.ring, &start, &place);
	ok(got == wanted, "%s: seek gives %d, wanted %d", what, (int)got, (int)wanted);
	return place;
}

static struct start event(uint64_t lsn, uint64_t n)
{
	return (struct start){.kind = CURSOR_EVENT, .at = {lsn, n, 0}};
}

static struct start bare(uint64_t lsn)
{
	return (struct start){.kind = CURSOR_LSN, .at = {.lsn = lsn}};
}

/* The id of the first change from a place on, 0-0 at the end. */
static struct cursor first_change(struct place place)
{
	struct record record;
	while (ring_read(fixture.ring, place.position, &record) == RING_READ_OK) {
		if (record.kind == RECORD_CHANGE)
			return record.change.id;
		place_advance(&place, &record);
	}
	return (struct cursor){0};
}

static void is_first(struct place place, uint64_t lsn, uint64_t n, const char *what)
{
	struct cursor id = first_change(place);
	ok(id.lsn == lsn && id.n == n, "%s: goes on with %" PRIu64 "-%" PRIu64 ", wanted %" PRIu64 "-%" PRIu64,
	   what, id.lsn, id.n, lsn, n);
}

static void test_seek(void)
{
	struct start now = {.kind = CURSOR_NOW}, earliest = {.kind = CURSOR_EARLIEST};
	fixture_make(&fixture, RING_MIN_CAPACITY);
	is_first(seek(earliest, SEEK_FOUND, "an empty ring"), 0, 0, "an empty ring");
	uint64_t first = fixture_transaction(&fixture, 3); /* commit record [1060, 1100) */
	uint64_t second = fixture_transaction(&fixture, 2);
	ring_writer_publish(fixture.writer);

	is_first(seek(earliest, SEEK_FOUND, "earliest"), first, 1, "earliest");
	is_first(seek(now, SEEK_FOUND, "now"), 0, 0, "now");
	is_u64(seek(now, SEEK_FOUND, "now").cursor.lsn, second + 40, "now is the end of the last transaction");
	is_first(seek(event(first, 1), SEEK_FOUND, "an id"), first, 2, "after an id");
	is_first(seek(event(first, 3), SEEK_FOUND, "the last id of a transaction"), second, 1,
			 "after a transaction");
	is_first(seek(event(second, 2), SEEK_FOUND, "the last id"), 0, 0, "after the last id");
	seek(event(first + 1, 1), SEEK_FOREIGN, "an id that never was");
	seek(event(999, 1), SEEK_FOREIGN, "an id of before the history");
	seek(event(second + 1000, 1), SEEK_WAIT, "an id still to come");

	is_first(seek(bare(first - 1), SEEK_FOUND, "an LSN before a commit"), first, 1, "before a commit record");
	is_first(seek(bare(first), SEEK_FOUND, "the LSN of a commit"), first, 1, "at a commit record");
	is_first(seek(bare(first + 39), SEEK_FOUND, "an LSN inside a commit"), first, 1,
			 "inside a commit record: it ends later");
	is_first(seek(bare(first + 40), SEEK_FOUND, "the end of a commit"), second, 1,
			 "at the end of a commit record");
	is_first(seek(bare(second + 39), SEEK_FOUND, "inside the last commit"), second, 1,
			 "inside the last commit record");
	is_first(seek(bare(second + 40), SEEK_FOUND, "the end of all"), 0, 0, "at the end of all");
	seek(bare(second + 41), SEEK_WAIT, "an LSN beyond what was streamed");
	seek(bare(500), SEEK_FOREIGN, "an LSN of before the history");

	ring_writer_progress(fixture.writer, second + 500);
	ring_writer_publish(fixture.writer);
	is_u64(seek(now, SEEK_FOUND, "now").cursor.lsn, second + 500, "now follows what was streamed");
	is_first(seek(bare(second + 300), SEEK_FOUND, "an LSN in a quiet stretch"), 0, 0, "a quiet stretch");

	fixture_change(&fixture, (struct cursor){second + 600, 1, 0}, 0, OPERATION_INSERT);
	ring_writer_publish(fixture.writer);
	seek(bare(second + 610), SEEK_WAIT, "an LSN inside the open transaction");
	struct place inside = seek(now, SEEK_FOUND, "now inside a transaction");
	ok(inside.cursor.lsn == second + 600 && inside.cursor.n == 1,
	   "now inside a transaction is its last change");
	seek(event(second + 600, 5), SEEK_WAIT, "a change of the open transaction that is still to come");
	fixture_commit(&fixture, second + 600, second + 640);
	ring_writer_publish(fixture.writer);
	is_first(seek(bare(second + 610), SEEK_FOUND, "then it is known"), second + 600, 1, "it straddles");
	is_first(seek(bare(second + 640), SEEK_FOUND, "its end"), 0, 0, "it does not straddle its end");

	struct start since = {.kind = CURSOR_TIME, .since_us = (int64_t)second * 10};
	is_first(seek(since, SEEK_FOUND, "a time"), second, 1, "the first change at or after a time");
	since.since_us = INT64_MAX;
	is_first(seek(since, SEEK_FOUND, "a time to come"), 0, 0, "a time to come");
	remove_fixture();
}

/* ---- gaps */

enum { WRITTEN = 6000 };

/* All transactions that were ever written, of 1 to 4 changes. */
static struct {
	uint64_t commit_lsn;
	unsigned changes;
} written[WRITTEN];

static const uint32_t only_a[] = {0};
static const struct filter of_a = {
	.collection_count = 1, .collections = only_a, .operations = OPERATIONS_ALL};
static const struct filter deletes_of_a = {
	.collection_count = 1, .collections = only_a, .operations = 1u << OPERATION_DELETE};

/* What a filter has lost from a place on, as the ring counts it. */
static uint64_t lost_from(struct place place, const struct filter *filter)
{
	return ring_skip_evicted(fixture.ring, filter, &place, &counter);
}

/* The place of the first change of a transaction, after it was evicted. */
static struct place evicted_place(unsigned transaction)
{
	return (struct place){0, {written[transaction].commit_lsn, 1, 0}};
}

/* The same by counting: what comes behind that change, up to the oldest that is retained. */
static uint64_t count_evicted(unsigned transaction, struct cursor oldest, const struct filter *filter)
{
	uint64_t count = 0;

	for (unsigned i = transaction; i < WRITTEN; i++) {
		for (unsigned n = i == transaction ? 2 : 1; n <= written[i].changes; n++) {
			struct change change = {.id = {written[i].commit_lsn, n, 0}, .collection = n % 2 == 1 ? 0 : 1};
			if (cursor_compare(change.id, oldest) > 0)
				return count;
			count += filter_matches(filter, &change);
		}
	}
	return count;
}

static void test_counts(struct cursor oldest)
{
	bool all_equal = true, all_seek = true, all_straddle = true;

	for (unsigned i = 0; i < WRITTEN; i += 7) {
		struct cursor cursor = {written[i].commit_lsn, 1, 0};
		if (cursor_compare(cursor, oldest) >= 0)
			break;
		uint64_t wanted = count_evicted(i, oldest, &everything);
		struct start at = event(cursor.lsn, cursor.n), inside = bare(cursor.lsn + 20);
		struct place place;
		enum ring_seek result = ring_seek(fixture.ring, &at, &place);
		all_seek = all_seek && (result == SEEK_EVICTED || wanted == 0);
		all_equal = all_equal && lost_from(place, &everything) == wanted;
		all_equal = all_equal && lost_from(place, &of_a) == count_evicted(i, oldest, &of_a);
		ring_seek(fixture.ring, &inside, &place);
		all_straddle = all_straddle && lost_from(place, &everything) == wanted + 1;
	}
	ok(all_seek, "every evicted id is known to be evicted");
	ok(all_equal, "what was evicted after an id is counted exactly, for all and for one collection");
	ok(all_straddle, "an LSN inside an evicted commit record counts that transaction");
}

/* As if the log of what was evicted were full, and had forgotten the first. */
static void test_forgotten(void)
{
	static const uint32_t third[] = {2}; /* which nothing was ever written to */
	static const struct filter never = {
		.collection_count = 1, .collections = third, .operations = OPERATIONS_ROWS};

	ring_writer_collection(fixture.writer, BYTES("public"), BYTES("never"));
	live_store(&fixture.ring->live->run_floor, 1000);
	is_u64(lost_from(evicted_place(0), &deletes_of_a), 1,
		   "where the log does not reach back to the cursor, and knows of none: one is told");
	is_u64(lost_from(evicted_place(0), &never), 0, "unless nothing of the collection was evicted since");
	is_u64(lost_from(evicted_place(WRITTEN / 3), &deletes_of_a), 0, "where it reaches back: none");
}

/* Every change that was ever written, and the answer to every question by counting. */
static void test_gaps(void)
{
	static const struct filter deletes = {.all_collections = true, .operations = 1u << OPERATION_DELETE};

	fixture_make(&fixture, RING_MIN_CAPACITY);
	for (unsigned i = 0; i < WRITTEN; i++) {
		written[i].changes = 1 + i % 4;
		written[i].commit_lsn = fixture_transaction(&fixture, written[i].changes);
	}
	fixture_checkpoint(&fixture);
	struct place oldest = ring_oldest(fixture.ring);
	ok(oldest.position > 0, "the ring has lapped");
	test_counts(oldest.cursor);
	uint64_t walked = counter.walked;
	lost_from(evicted_place(0), &of_a);
	ok(counter.walked > walked && counter.walked - walked < 3 * 256 * sizeof(struct ring_run),
	   "of a long log little is read again");
	is_u64(lost_from(evicted_place(0), &deletes), 0, "no delete is missed by a stream of deletes");
	seek(event(written[1].commit_lsn + 1, 1), SEEK_FOREIGN,
		 "an id that was never evicted because it never was");
	test_forgotten();
	remove_fixture();
}

/* ---- messages */

/* Transactions with messages in different places, and messages that belong to none; all ids in order. */
enum { MESSAGES_TRANSACTIONS = 8000, MESSAGES_IDS_MAX = MESSAGES_TRANSACTIONS * 4 };

static unsigned write_messages(struct cursor *ids)
{
	unsigned count = 0;

	for (unsigned i = 0; i < MESSAGES_TRANSACTIONS; i++) {
		/* places of one transaction: c a change, m a message; none: a message of no transaction */
		static const char *const shapes[] = {"m", "c", "mm", "cmmc", "mcmc", "", "ccmm"};
		const char *shape = shapes[i % 7];
		struct cursor id = {fixture.lsn + (i % 3) * 20, 0, 0};
		for (const char *at = *shape == 0 ? "m" : shape; *at != 0; at++) {
			id.m = *at == 'm' ? id.m + 1 : 0;
			id.n += *at == 'c';
			fixture_change(&fixture, id, 0, *at == 'm' ? OPERATION_MESSAGE : OPERATION_INSERT);
			ids[count++] = id;
		}
		fixture_commit(&fixture, id.lsn, id.lsn + 40);
	}
	return count;
}

static bool all_read(struct place place, const struct cursor *ids, unsigned from, unsigned count)
{
	struct record record;
	for (; ring_read(fixture.ring, place.position, &record) == RING_READ_OK; place_advance(&place, &record)) {
		if (record.kind == RECORD_CHANGE &&
			(from == count || cursor_compare(record.change.id, ids[from++]) != 0))
			return false;
	}
	return from == count;
}

/* What a filter of these operations loses between two of the ids, by counting. */
static uint64_t count_lost(const struct cursor *ids, unsigned from, unsigned oldest, unsigned operations)
{
	uint64_t lost = 0;
	for (; from < oldest; from++)
		lost += (operations & 1u << (ids[from].m > 0 ? OPERATION_MESSAGE : OPERATION_INSERT)) != 0;
	return lost;
}

enum { AROUND = 40 }; /* so many ids before and behind the oldest are looked at */

/* Whether each id around the oldest is found, with what comes behind it, or known to be evicted. */
static bool seeks_right(const struct cursor *ids, unsigned oldest, unsigned count)
{
	bool right = true;

	for (unsigned i = oldest > AROUND ? oldest - AROUND : 0; i < oldest + AROUND; i++) {
		struct start at = {.kind = CURSOR_EVENT, .at = ids[i]};
		enum ring_seek wanted = i + 1 < oldest ? SEEK_EVICTED : SEEK_FOUND;
		struct place place;
		right = right && ring_seek(fixture.ring, &at, &place) == wanted &&
				(wanted == SEEK_EVICTED || all_read(place, ids, i + 1, count));
	}
	return right;
}

/* Whether what lies between an id before the oldest and that is counted, for each. */
static bool counts_right(const struct cursor *ids, unsigned oldest)
{
	static const unsigned operations[] = {OPERATIONS_ALL, OPERATIONS_ROWS, OPERATIONS_MESSAGE};
	bool right = true;

	for (unsigned i = oldest > AROUND ? oldest - AROUND : 0; i + 1 < oldest; i++) {
		struct start at = {.kind = CURSOR_EVENT, .at = ids[i]};
		struct place place;
		ring_seek(fixture.ring, &at, &place);
		for (size_t f = 0; f < COUNT(operations); f++) {
			struct filter filter = {.all_collections = true, .operations = operations[f]};
			right = right && lost_from(place, &filter) == count_lost(ids, i + 1, oldest, operations[f]);
		}
	}
	return right;
}

static bool texts_right(const struct cursor *ids, unsigned count)
{
	bool right = true;

	for (unsigned i = 0; i < count; i++) {
		char memory[CURSOR_TEXT_MAX];
		struct start parsed;
		right = right && cursor_parse(cursor_text(ids[i], memory), &parsed) && parsed.kind == CURSOR_EVENT &&
				cursor_compare(parsed.at, ids[i]) == 0;
	}
	return right;
}

/* Whether the LSN of each transaction that begins with a message comes before it. */
static bool bares_right(const struct cursor *ids, unsigned oldest, unsigned count)
{
	bool right = true;

	for (unsigned i = oldest; i < count; i++) {
		struct start at = bare(ids[i].lsn);
		struct place place;
		if (ids[i].m == 1 && ids[i].n == 0)
			right =
				right && ring_seek(fixture.ring, &at, &place) == SEEK_FOUND && all_read(place, ids, i, count);
	}
	return right;
}

static void test_messages(void)
{
	static struct cursor ids[MESSAGES_IDS_MAX];
	bool seek_right = true, lost_right = true;
	unsigned oldest = 0, kinds = 0;

	fixture_make(&fixture, RING_MIN_CAPACITY);
	unsigned count = write_messages(ids);
	fixture_checkpoint(&fixture);
	/* every place where the ring can begin: tail moves on with each checkpoint */
	for (int round = 0; round < 40; round++) {
		for (int i = 0; i < 51; i++) {
			fixture_transaction(&fixture, 1);
			ids[count++] = (struct cursor){fixture.lsn - 40, 1, 0};
		}
		fixture_checkpoint(&fixture);
		struct place first = ring_oldest(fixture.ring), place;
		struct start at_first = {.kind = CURSOR_EVENT, .at = first.cursor};
		while (cursor_compare(ids[oldest], first.cursor) <= 0)
			oldest++;
		kinds |= 1u << (ids[oldest].m > 0 ? OPERATION_MESSAGE : OPERATION_INSERT);
		seek_right = seek_right && all_read(first, ids, oldest, count) &&
					 (first.cursor.n + first.cursor.m == 0 ||
					  ring_seek(fixture.ring, &at_first, &place) == SEEK_FOUND) &&
					 seeks_right(ids, oldest, count);
		lost_right = lost_right && counts_right(ids, oldest);
	}
	ok(kinds == (1u << OPERATION_MESSAGE | 1u << OPERATION_INSERT),
	   "the ring began with messages, and with changes");
	ok(seek_right, "after each id of a change or a message comes the next");
	ok(lost_right, "lost messages and changes are counted exactly, behind each");
	ok(bares_right(ids, oldest, count), "the LSN of a message's transaction, or its own, comes before it");
	ok(texts_right(ids, count), "ids of messages can be written and read");
	is_first(seek((struct start){.kind = CURSOR_EVENT, .at = {ids[count - 1].lsn - 10, 0, 1}}, SEEK_FOUND,
				  "an LSN with -0"),
			 ids[count - 1].lsn, 1, "an LSN with -0 where there is no message");
	remove_fixture();
}

/* ---- records */

/* A reader that reads while the writer goes round sees an overrun, never a wrong record. */
static void test_overrun(void)
{
	struct buffer body = {0};
	struct record record;
	fixture_make(&fixture, RING_MIN_CAPACITY);
	fixture_transaction(&fixture, 2);
	ring_writer_publish(fixture.writer);
	ok(ring_read(fixture.ring, 0, &record) == RING_READ_OK, "the first record can be read");
	for (int i = 0; i < 3000; i++)
		fixture_transaction(&fixture, 3);
	fixture_checkpoint(&fixture);
	ok(ring_read_body(fixture.ring, &record, &body) == RING_READ_OVERRUN && body.size == 0,
	   "its body no longer");
	ok(ring_read(fixture.ring, 0, &record) == RING_READ_OVERRUN, "nor the record");
	ok(ring_read(fixture.ring, ring_head(fixture.ring), &record) == RING_READ_END, "head is the end");
	buffer_free(&body);
	remove_fixture();
}

static void test_large(void)
{
	static char large[RING_MIN_CAPACITY];
	struct record record;
	fixture_make(&fixture, RING_MIN_CAPACITY);
	struct change change = {.id = {2000, 1, 0}, .operation = OPERATION_UPDATE};
	size_t limit = RING_MIN_CAPACITY / 4 - sizeof(struct ring_record_header);
	ok(ring_writer_change(fixture.writer, &change, (struct bytes){large, limit}) == RING_WRITE_OK,
	   "a body of a quarter of the ring");
	change.id.n = 2;
	ring_writer_change(fixture.writer, &change, (struct bytes){large, limit + 1});
	fixture_commit(&fixture, 2000, 2040);
	ring_writer_publish(fixture.writer);
	ring_read(fixture.ring, 0, &record);
	ok(record.body_size == limit && record.change.flags == 0, "is kept");
	ring_read(fixture.ring, record.next, &record);
	ok(record.body_size == 0 && record.change.flags == CHANGE_OVERSIZE,
	   "a larger one is left out and marked");
	for (int i = 0; i < 30; i++) {
		change.id = (struct cursor){3000 + (uint64_t)i * 100, 1, 0};
		while (ring_writer_change(fixture.writer, &change, (struct bytes){large, limit}) ==
			   RING_WRITE_BLOCKED)
			fixture_checkpoint(&fixture);
		fixture_commit(&fixture, change.id.lsn, change.id.lsn + 40);
	}
	fixture_checkpoint(&fixture);
	is_first(seek(event(5800, 1), SEEK_FOUND, "among large records"), 5900, 1,
			 "the index knows large records");

	struct ring huge = *fixture.ring;
	huge.checkpoint.capacity = UINT64_C(1) << 40;
	struct ring_writer *writer = ring_writer_open(&huge);
	ok(ring_writer_body_max(writer) < UINT32_MAX, "in a huge ring no record is larger than its size can say");
	ring_writer_close(writer);
	remove_fixture();
}

/* Whether the records from 0 on are the changes 1 to `count` of a transaction, whole. */
static bool all_whole(uint64_t count)
{
	struct buffer body = {0};
	struct record record = {0};
	uint64_t n = 0;
	bool whole = true;
	for (uint64_t position = 0; ring_read(fixture.ring, position, &record) == RING_READ_OK;
		 position = record.next) {
		buffer_clear(&body);
		ring_read_body(fixture.ring, &record, &body);
		whole =
			whole && record.change.id.n == ++n && fixture_body_whole(record.change.id, buffer_bytes(&body));
	}
	buffer_free(&body);
	return whole && n == count;
}

static enum ring_write append(uint64_t n)
{
	struct change change = {.id = {2000, n}, .operation = OPERATION_INSERT};
	size_t size = fixture_body_size(change.id);
	for (size_t i = 0; i < size; i++)
		fixture.body[i] = fixture_body_byte(change.id, i);
	return ring_writer_change(fixture.writer, &change, (struct bytes){fixture.body, size});
}

/* A limit on the size of files makes every write to the data fail. */
static void test_write_fails(void)
{
	struct rlimit before, limit;
	uint64_t n = 1;

	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	limit = (struct rlimit){.rlim_cur = 4096, .rlim_max = before.rlim_max};
	fixture_make(&fixture, RING_MIN_CAPACITY);
	append(1);
	ok(ring_writer_publish(fixture.writer) && ring_writer_error(fixture.writer) == 0, "a write succeeds");

	setrlimit(RLIMIT_FSIZE, &limit);
	append(2);
	ok(!ring_writer_publish(fixture.writer) && ring_writer_error(fixture.writer) == EFBIG,
	   "the next one fails");
	ok(all_whole(1), "readers see nothing of it");
	ok(!ring_checkpoint_begin(fixture.writer), "no checkpoint promises it");
	for (n = 3; append(n) == RING_WRITE_OK;)
		n++;
	ok(n > 100 && n < 10000, "what is kept for later is bounded: %" PRIu64 " changes", n);

	setrlimit(RLIMIT_FSIZE, &before);
	ok(ring_writer_publish(fixture.writer) && ring_writer_error(fixture.writer) == 0,
	   "it is made good later");
	ok(append(n) == RING_WRITE_OK && ring_writer_publish(fixture.writer) && all_whole(n),
	   "and nothing is lost");
	remove_fixture();
}

static void test_collections(void)
{
	struct collection found;
	fixture_make(&fixture, RING_MIN_CAPACITY);
	is_u64(ring_writer_collection(fixture.writer, BYTES("public"), BYTES("b")), 1,
		   "a collection keeps its number");
	ok(!ring_find_published(fixture.ring, BYTES("public"), BYTES("b"), &found),
	   "it is not published at first");
	ring_writer_set_published(fixture.writer, 1, true);
	ok(ring_find_published(fixture.ring, BYTES("public"), BYTES("b"), &found) && found.id == 1, "then it is");
	ok(!ring_find_published(fixture.ring, BYTES("other"), BYTES("b"), &found), "the schema counts");
	ok(!ring_collection(fixture.ring, 2, &found), "there is no third");
	remove_fixture();
}

/* Each by its names, while they become more, whoever asks. */
static void test_many_collections(void)
{
	enum { MANY = 3000 };
	struct ring *reader;
	struct collection found;
	unsigned right = 0, wrong = 0;
	char name[COLLECTION_NAME_SIZE];

	fixture_make(&fixture, 64 * RING_MIN_CAPACITY);
	ok(ring_file_open(fixture.path, RING_ACCESS_WORKER, &reader) == RING_FILE_OK, "a reader");
	for (uint32_t i = 2; i < MANY; i++) {
		uint32_t asked = 2 + (uint32_t)random() % (i - 1);
		snprintf(name, sizeof(name), "t%u", i);
		uint32_t id = ring_writer_collection(fixture.writer, BYTES("app"), bytes_of(name));
		right += id == i && id == ring_writer_collection(fixture.writer, BYTES("app"), bytes_of(name));
		ring_writer_set_published(fixture.writer, id, true);
		snprintf(name, sizeof(name), "t%u", asked);
		right += ring_find_published(reader, BYTES("app"), bytes_of(name), &found) && found.id == asked;
		wrong += ring_find_published(reader, BYTES("public"), bytes_of(name), &found);
	}
	is_u64(right, 2 * (MANY - 2), "each of many has its number, and is found");
	is_u64(wrong, 0, "and no other");
	ring_file_close(reader);
	remove_fixture();
}

/* The same questions before and after; `lost` is what the smaller ring cannot keep. */
static void test_resize(uint64_t capacity, bool shrinks)
{
	uint64_t commits[4000], retained = 0, lost = 0, found = 0;
	bool all_right = true;

	fixture_make(&fixture, 2 * RING_MIN_CAPACITY);
	for (int i = 0; i < 4000; i++)
		commits[i] = fixture_transaction(&fixture, 3);
	ring_writer_progress(fixture.writer, commits[3999] + 5000);
	fixture_checkpoint(&fixture);
	struct place before = ring_oldest(fixture.ring);
	struct cursor evicted = ring_collection_evicted(&fixture.ring->collections[0]);
	fixture_close(&fixture);
	ok(ring_resize(fixture.path, capacity) == RING_FILE_OK, "a ring of %" PRIu64 " bytes", capacity);
	fixture_open(&fixture);
	is_u64(ring_capacity(fixture.ring), capacity, "has that size");
	is_u64(ring_writer_streamed_lsn(fixture.writer), commits[3999] + 5000, "is streamed as far");
	is_u64(ring_writer_identity(fixture.writer).system_identifier, 7, "belongs to the same");
	int order = cursor_compare(ring_oldest(fixture.ring).cursor, before.cursor);
	ok(shrinks ? order > 0 : order == 0, "retains %s", shrinks ? "less" : "the same");
	order = cursor_compare(ring_collection_evicted(&fixture.ring->collections[0]), evicted);
	ok(evicted.lsn > 0 && (shrinks ? order > 0 : order == 0), "knows which change of a collection went last");
	for (int i = 0; i < 4000; i += 13) {
		struct place place;
		struct start at = event(commits[i], 3);
		ring_seek(fixture.ring, &at, &place);
		lost = lost_from(place, &everything);
		retained = 0;
		struct record record;
		for (place.position = ring_oldest(fixture.ring).position;
			 ring_read(fixture.ring, place.position, &record) == RING_READ_OK; place.position = record.next)
			retained += record.kind == RECORD_CHANGE && cursor_compare(record.change.id, at.at) > 0;
		all_right = all_right && lost + retained == (uint64_t)(3999 - i) * 3;
		found++;
	}
	ok(all_right && found > 0, "what is lost and what is retained after each cursor is all there was");
	fixture_transaction(&fixture, 1);
	is_u64((uint64_t)fixture_checkpoint(&fixture), 0, "and it goes on");
	remove_fixture();
}

/* One record in the middle is written over; in the same boot nobody has to look at it before the copy. */
static void test_resize_damaged(const char *what, struct ring_record_header header)
{
	struct start earliest = {.kind = CURSOR_EARLIEST};
	struct place place;
	struct record record;

	fixture_make(&fixture, 2 * RING_MIN_CAPACITY);
	for (int i = 0; i < 100; i++)
		fixture_transaction(&fixture, 3);
	fixture_checkpoint(&fixture);
	ring_seek(fixture.ring, &earliest, &place);
	ring_read(fixture.ring, place.position, &record);
	memcpy(fixture.ring->data + record.next, &header, sizeof(header));
	fixture_close(&fixture);
	ok(ring_resize(fixture.path, RING_MIN_CAPACITY) == RING_FILE_DAMAGED, "%s is no record to copy", what);
	fixture_open(&fixture);
	ok(ring_is_damaged(fixture.ring), "which others see");
	remove_fixture();
}

/*
 * What is left of a record that lies across the end of a file that was cut: zeros behind some byte, as far as
 * the page goes. A change has a body of its own to look at, a commit has none that is asked for.
 */
static void test_cut_record(enum record_kind kind)
{
	struct start earliest = {.kind = CURSOR_EARLIEST};
	/* behind these the numbers of the fixture have zeros of their own */
	unsigned read = 0, bytes = sizeof(struct ring_record_header) + 2;

	for (unsigned from = 0; from < bytes; from++) {
		struct place place;
		struct record record;
		struct buffer body = {0};
		fixture_make(&fixture, RING_MIN_CAPACITY);
		fixture_transaction(&fixture, 1);
		ring_writer_publish(fixture.writer);
		ring_seek(fixture.ring, &earliest, &place);
		ring_read(fixture.ring, place.position, &record);
		if (kind == RECORD_COMMIT)
			ring_read(fixture.ring, place.position = record.next, &record);
		char *at = fixture.ring->data + place.position;
		memset(at + from, 0, record.next - place.position - from);
		read += ring_read(fixture.ring, place.position, &record) == RING_READ_OK &&
				(kind == RECORD_COMMIT || ring_read_body(fixture.ring, &record, &body) == RING_READ_OK);
		read += !ring_is_damaged(fixture.ring);
		read += body.size > 0;
		buffer_free(&body);
		fixture_remove(&fixture);
	}
	is_u64(read, 0, "a %s of which less than %u bytes are left is damage",
		   kind == RECORD_COMMIT ? "commit" : "change", bytes);
}

static void test_resize_collections(void)
{
	char name[16];

	fixture_make(&fixture, 32 * RING_MIN_CAPACITY);
	for (int i = 2; i <= 1024; i++) {
		snprintf(name, sizeof(name), "t%d", i);
		ring_writer_collection(fixture.writer, BYTES("public"), bytes_of(name));
	}
	fixture_checkpoint(&fixture);
	fixture_close(&fixture);
	ok(ring_resize(fixture.path, RING_MIN_CAPACITY) == RING_FILE_SMALL,
	   "1025 collections are too many for a small ring");
	fixture_open(&fixture);
	is_u64(ring_capacity(fixture.ring), 32 * RING_MIN_CAPACITY, "then it stays as large as it is");
	remove_fixture();
}

int main(void)
{
	test_resize(4 * RING_MIN_CAPACITY, false);
	test_resize(RING_MIN_CAPACITY, true);
	test_resize_damaged("of no size", (struct ring_record_header){.kind = RECORD_CHANGE});
	test_resize_damaged(
		"beyond the head",
		(struct ring_record_header){.size = RING_MIN_CAPACITY,
									.kind = RECORD_CHANGE,
									.body_size = RING_MIN_CAPACITY - sizeof(struct ring_record_header)});
	test_resize_damaged("of much padding",
						(struct ring_record_header){.size = 480, .kind = RECORD_COMMIT, .body_size = 8});
	test_resize_damaged("of no collection",
						(struct ring_record_header){.size = sizeof(struct ring_record_header),
													.kind = RECORD_CHANGE,
													.collection = 70000});
	test_cut_record(RECORD_CHANGE);
	test_cut_record(RECORD_COMMIT);
	test_resize_collections();
	test_seek();
	test_gaps();
	test_messages();
	test_overrun();
	test_large();
	test_write_fails();
	test_collections();
	test_many_collections();
	return tap_end();
}
