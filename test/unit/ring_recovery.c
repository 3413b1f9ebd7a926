/*
 * ring_recovery.c: what is found again after a crash. A crash of the process leaves the file as it is; power
 * loss is made by putting back, page by page, what the file held at the last sync. CHANGEFEED_TEST_SEED and
 * CHANGEFEED_POWER_LOSSES say which pages, and how often.
 */
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>

#include "ring_fixture.h"

static struct fixture fixture;

/* The disk, in place of libc's: it can refuse, and knows what had been written when it was last synced. */
static int disk_error;
static uint64_t sequence_of_page[2], synced_sequence;
static unsigned syncs;
static void (*meanwhile)(void); /* what somebody else does during the next one */

int fdatasync(int fd)
{
	void (*happens)(void) = meanwhile;
	meanwhile = NULL;
	if (happens != NULL)
		happens();
	if (disk_error != 0) {
		errno = disk_error;
		return -1;
	}
	syncs++;
	for (int i = 0; i < 2; i++) {
		struct ring_checkpoint checkpoint;
		if (pread(fd, &checkpoint, sizeof(checkpoint), (off_t)i * RING_PAGE) == (ssize_t)sizeof(checkpoint))
			sequence_of_page[i] = checkpoint.sequence;
	}
	synced_sequence = sequence_of_page[0] > sequence_of_page[1] ? sequence_of_page[0] : sequence_of_page[1];
	return (int)syscall(SYS_fdatasync, fd);
}

/* Reads the whole ring. Returns the number of changes, or -1 if one is not whole or out of order. */
static long read_all(const struct ring *ring, struct cursor *ret_last)
{
	struct start earliest = {.kind = CURSOR_EARLIEST};
	struct place place;
	struct record record;
	struct buffer body = {0};
	struct cursor last = {0};
	long count = 0;

	ring_seek(ring, &earliest, &place);
	while (count >= 0 && ring_read(ring, place.position, &record) == RING_READ_OK) {
		body.size = 0;
		ring_read_body(ring, &record, &body);
		if (record.kind == RECORD_CHANGE) {
			bool right = cursor_compare(record.change.id, last) > 0 &&
						 fixture_body_whole(record.change.id, buffer_bytes(&body));
			count = right ? count + 1 : -1;
			last = record.change.id;
		}
		place_advance(&place, &record);
	}
	buffer_free(&body);
	if (ret_last != NULL)
		*ret_last = last;
	return count;
}

static void test_process_crash(void)
{
	fixture_make(&fixture, RING_MIN_CAPACITY);
	fixture_checkpoint(&fixture);
	for (int i = 0; i < 100; i++)
		fixture_transaction(&fixture, 3);
	fixture_change(&fixture, (struct cursor){fixture.lsn + 60, 1, 0}, 0, OPERATION_INSERT);
	struct cursor last = {fixture.lsn + 60, 1, 0};
	uint64_t lsn = fixture.lsn;
	ring_writer_publish(fixture.writer);
	fixture_change(&fixture, (struct cursor){last.lsn, 2, 0}, 0, OPERATION_INSERT);
	/* not published, so nobody has seen it; no checkpoint: the process is gone */
	fixture_close(&fixture);
	fixture_open(&fixture);
	is_u64((uint64_t)read_all(fixture.ring, NULL), 301,
		   "a crash of the process loses nothing that was published");
	is_u64(ring_writer_streamed_lsn(fixture.writer), lsn, "the last whole transaction is known");
	ok(cursor_compare(ring_writer_last(fixture.writer), last) == 0, "and the last change of the open one");
	is_u64(ring_writer_identity(fixture.writer).system_identifier, 7, "the identity too");
	fixture_commit(&fixture, last.lsn, last.lsn + 40);
	ring_writer_publish(fixture.writer);
	is_u64((uint64_t)read_all(fixture.ring, NULL), 301, "the open transaction can be finished");
	fixture_remove(&fixture);
}

/* Records that were gathered and indexed, and never written; and what comes in their place is another one. */
static void test_index_of_what_is_gone(void)
{
	struct start now = {.kind = CURSOR_NOW};
	struct change large = {.operation = OPERATION_INSERT};
	struct place place;

	fixture_make(&fixture, RING_MIN_CAPACITY);
	fixture_transaction(&fixture, 1);
	fixture_checkpoint(&fixture);
	uint64_t head = ring_head(fixture.ring);
	for (int i = 0; i < 200; i++)
		fixture_transaction(&fixture, 1);
	fixture_close(&fixture);
	fixture_open(&fixture);
	is_u64(ring_head(fixture.ring), head, "what was not published is gone after a crash");
	large.id = (struct cursor){fixture.lsn + 60, 1, 0};
	ring_writer_change(fixture.writer, &large, (struct bytes){fixture.body, 3 * RING_INDEX_GRAIN});
	ring_writer_publish(fixture.writer);
	ring_seek(fixture.ring, &now, &place);
	ok(place.position == ring_head(fixture.ring) && !ring_is_damaged(fixture.ring),
	   "a reader does not look for it inside of what came in its place");
	fixture_remove(&fixture);
}

static char *slurp(const char *path, size_t *ret_size)
{
	FILE *file = fopen(path, "r");
	fseek(file, 0, SEEK_END);
	*ret_size = (size_t)ftell(file);
	rewind(file);
	char *data = malloc(*ret_size);
	if (fread(data, 1, *ret_size, file) != *ret_size)
		exit(1);
	fclose(file);
	return data;
}

static void spill(const char *path, const char *data, size_t size)
{
	FILE *file = fopen(path, "r+");
	if (fwrite(data, 1, size, file) != size)
		exit(1);
	fclose(file);
}

/*
 * Power loss: `synced` is the file at its last sync, `now` what the page cache held; of each 4 kB page that
 * differs, chance decides which of the two reached the disk. The live area is anything. A whole number of
 * rounds, one random seed.
 */
static void power_loss(const char *synced, const char *now, size_t size, unsigned *seed)
{
	char *mixed = malloc(size);
	memcpy(mixed, synced, size);
	for (size_t at = 0; at < size; at += 4096) {
		size_t length = size - at < 4096 ? size - at : 4096;
		if (rand_r(seed) % 2 == 0)
			memcpy(mixed + at, now + at, length);
	}
	memset(mixed + fixture.ring->sections.live_offset, (char)rand_r(seed), sizeof(struct ring_live));
	fixture_close(&fixture);
	spill(fixture.path, mixed, size);
	free(mixed);
}

static unsigned environment(const char *name, unsigned otherwise)
{
	const char *value = getenv(name);
	return value == NULL ? otherwise : (unsigned)strtoul(value, NULL, 10);
}

static void test_power_loss(unsigned transactions_before)
{
	unsigned seed = environment("CHANGEFEED_TEST_SEED", 42), good = 0;
	unsigned rounds = environment("CHANGEFEED_POWER_LOSSES", 40);
	for (unsigned round = 0; round < rounds; round++) {
		size_t size;
		fixture_make(&fixture, RING_MIN_CAPACITY);
		for (unsigned i = 0; i < transactions_before + round % 40; i++)
			fixture_transaction(&fixture, 1 + i % 3);
		fixture_checkpoint(&fixture);
		uint64_t confirmed = ring_live(fixture.ring)->durable_lsn;
		char *synced = slurp(fixture.path, &size);
		for (unsigned i = 0; i < 10 + round % 40; i++)
			fixture_transaction(&fixture, 1 + i % 3);
		ring_writer_publish(fixture.writer);
		if (round % 2 == 0) {
			/* the lights go out while a checkpoint is under way: it has evicted, and its page is not written */
			ring_checkpoint_begin(fixture.writer);
		}
		char *now = slurp(fixture.path, &size);
		power_loss(synced, now, size, &seed);
		fixture_open(&fixture);
		struct cursor last;
		long count = read_all(fixture.ring, &last);
		good += count > 0 && ring_writer_streamed_lsn(fixture.writer) >= confirmed &&
				cursor_compare(ring_writer_last(fixture.writer), last) >= 0;
		/* and life goes on: what was cut off comes again from the slot */
		struct cursor open = ring_writer_last(fixture.writer);
		if (open.n != UINT64_MAX)
			fixture_commit(&fixture, open.lsn, open.lsn + 40);
		uint64_t commit_lsn = fixture_transaction(&fixture, 2);
		fixture_checkpoint(&fixture);
		good += read_all(fixture.ring, &last) > 0 && last.lsn == commit_lsn && last.n == 2;
		free(synced);
		free(now);
		fixture_remove(&fixture);
	}
	is_u64(good, 2 * rounds,
		   "after power loss a whole prefix with all that was confirmed is found, %u transactions before",
		   transactions_before);
}

/* Changes n and on of one long transaction, `count` of them. Returns the next n. */
static uint64_t go_on_with_transaction(uint64_t n, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		fixture_change(&fixture, (struct cursor){2000, n++, 0}, 0, OPERATION_INSERT);
	return n;
}

/* A checkpoint that never ended has evicted changes which the one of before still promises: they are counted
 * once. */
static void test_crash_between_eviction_and_checkpoint(void)
{
	struct filter all = {.all_collections = true, .operations = OPERATIONS_ALL};
	struct place place = {.cursor = {2000, 0, 0}};
	struct record oldest = {0};
	struct gap_counter counter = {0};

	fixture_make(&fixture, RING_MIN_CAPACITY);
	uint64_t n = go_on_with_transaction(1, 8000);
	fixture_checkpoint(&fixture);
	n = go_on_with_transaction(n, 100);
	uint64_t promised = ring_tail(fixture.ring);
	ring_checkpoint_begin(fixture.writer);
	ok(ring_tail(fixture.ring) > promised,
	   "a checkpoint evicts, and the process crashes before it is written");
	fixture_close(&fixture);
	fixture_open(&fixture);
	is_u64(ring_tail(fixture.ring), promised, "what it evicted is there again");
	n = go_on_with_transaction(n, 3000);
	ring_writer_publish(fixture.writer);
	uint64_t lagged = ring_skip_evicted(fixture.ring, &all, &place, &counter);
	ring_read(fixture.ring, place.position, &oldest);
	is_u64(lagged, oldest.change.id.n - 1, "and is counted once when it is evicted again");
	gap_counter_free(&counter);
	fixture_remove(&fixture);
}

static unsigned syncs_of_checkpoint(void)
{
	syncs = 0;
	fixture_checkpoint(&fixture);
	return syncs;
}

/* The disk writes pages in any order between two syncs: a checkpoint alone needs one, what it promises
 * another one before. */
static void test_order_of_syncs(void)
{
	struct change large = {.id = {UINT32_MAX, 1, 0}};

	fixture_make(&fixture, RING_MIN_CAPACITY);
	for (int i = 0; i < 4000; i++)
		fixture_transaction(&fixture, 2);
	fixture_checkpoint(&fixture);
	ring_writer_progress(fixture.writer, fixture.lsn += 100);
	is_u64(syncs_of_checkpoint(), 1, "a checkpoint of progress alone is synced once");
	fixture_transaction(&fixture, 1);
	is_u64(syncs_of_checkpoint(), 2, "records are synced before it");
	ring_writer_collection(fixture.writer, BYTES("public"), BYTES("c"));
	ring_writer_progress(fixture.writer, fixture.lsn += 100);
	is_u64(syncs_of_checkpoint(), 2, "so is a new collection");
	ok(ring_writer_change(fixture.writer, &large, (struct bytes){fixture.body, 200000}) == RING_WRITE_BLOCKED,
	   "a change waits for room");
	is_u64(syncs_of_checkpoint(), 2, "so is the log of what is evicted for it");
	fixture_remove(&fixture);
}

static void test_torn_checkpoints(void)
{
	for (int torn = 0; torn < 2; torn++) {
		char garbage[512];
		memset(garbage, 0x5a, sizeof(garbage));
		fixture_make(&fixture, RING_MIN_CAPACITY);
		for (int i = 0; i < 50; i++) {
			fixture_transaction(&fixture, 2);
			if (i % 20 == 0)
				fixture_checkpoint(&fixture);
		}
		ring_writer_publish(fixture.writer);
		fixture_close(&fixture);
		int fd = open(fixture.path, O_WRONLY);
		ok(pwrite(fd, garbage, sizeof(garbage), (off_t)torn * RING_PAGE + 64) == (ssize_t)sizeof(garbage),
		   "checkpoint %d is torn", torn);
		close(fd);
		fixture_open(&fixture);
		is_u64((uint64_t)read_all(fixture.ring, NULL), 100, "the other one is enough");
		fixture_remove(&fixture);
	}
}

/* The disk refuses for a while: nothing is confirmed, and the valid checkpoint is never written over. */
static void test_refusing_disk(void)
{
	fixture_make(&fixture, RING_MIN_CAPACITY);
	fixture_transaction(&fixture, 3);
	fixture_checkpoint(&fixture);
	uint64_t durable_lsn = ring_live(fixture.ring)->durable_lsn;
	uint64_t valid = synced_sequence;
	for (int round = 0; round < 3; round++) {
		disk_error = round == 1 ? ENOSPC : EIO;
		if (round != 2)
			fixture_transaction(&fixture, 3);
		else
			ring_writer_progress(fixture.writer, fixture.lsn += 100);
		is_u64((uint64_t)fixture_checkpoint(&fixture), (uint64_t)disk_error, "a checkpoint fails: %s",
			   strerror(disk_error));
	}
	is_u64(ring_live(fixture.ring)->durable_lsn, durable_lsn, "nothing more may be confirmed");
	disk_error = 0;
	fdatasync(fixture.ring->fd);
	is_u64(sequence_of_page[valid % 2], valid, "the last checkpoint that was synced is still in its page");
	is_u64((uint64_t)fixture_checkpoint(&fixture), 0, "the disk is well again");
	is_u64(sequence_of_page[valid % 2], valid, "also after the next one");
	is_u64(ring_live(fixture.ring)->durable_lsn, fixture.lsn, "and everything is durable");
	fixture_close(&fixture);
	fixture_open(&fixture);
	is_u64((uint64_t)read_all(fixture.ring, NULL), 9, "and found again");
	fixture_remove(&fixture);
}

/* The same while a change waits for room and everything else is durable: the room is made all the same. */
static void test_refusing_disk_when_full(void)
{
	struct change large = {.id = {UINT64_C(1) << 40, 1, 0}, .operation = OPERATION_INSERT};
	struct bytes body = {fixture.body, 200000};

	fixture_make(&fixture, RING_MIN_CAPACITY);
	for (int i = 0; i < 4000; i++)
		fixture_transaction(&fixture, 2);
	while (ring_checkpoint_begin(fixture.writer))
		ring_checkpoint_end(fixture.writer, ring_checkpoint_sync(fixture.writer));
	ok(ring_writer_change(fixture.writer, &large, body) == RING_WRITE_BLOCKED, "a change waits for room");
	disk_error = EIO;
	is_u64((uint64_t)fixture_checkpoint(&fixture), EIO, "which the disk refuses to make");
	disk_error = 0;
	ok(ring_checkpoint_begin(fixture.writer), "it is asked again, though there is nothing else to write");
	ring_checkpoint_end(fixture.writer, ring_checkpoint_sync(fixture.writer));
	ok(ring_writer_change(fixture.writer, &large, body) == RING_WRITE_OK, "and then there is room");
	fixture_remove(&fixture);
}

/*
 * A new history that ends before its first checkpoint: the old one is found again, and nothing of the new one
 * with it, or what lies between the two would be skipped in silence.
 */
static void test_new_history_unsynced(void)
{
	struct ring_identity identity = {.system_identifier = 7, .timeline = 1, .slot = "changefeed"};

	fixture_make(&fixture, RING_MIN_CAPACITY);
	fixture_transaction(&fixture, 3);
	fixture_checkpoint(&fixture);
	uint64_t old_end = fixture.lsn;
	ring_writer_begin_history(fixture.writer, &identity, old_end + 10000);
	fixture.lsn = old_end + 10000;
	fixture_transaction(&fixture, 5);
	ring_writer_publish(fixture.writer);
	fixture_close(&fixture);
	fixture_open(&fixture);
	is_u64((uint64_t)read_all(fixture.ring, NULL), 3,
		   "a new history without a checkpoint leaves nothing behind");
	is_u64(ring_writer_streamed_lsn(fixture.writer), old_end, "the old one ends where it ended");
	fixture_remove(&fixture);
}

static void overwrite(const char *path, off_t offset, const char *bytes, size_t size)
{
	int fd = open(path, O_WRONLY);
	if (fd < 0 || pwrite(fd, bytes, size, offset) != (ssize_t)size)
		exit(1);
	close(fd);
}

/* Bytes that are no record, in the middle of what is retained. */
static void test_damage(void)
{
	static char garbage[65536];
	struct start earliest = {.kind = CURSOR_EARLIEST};
	struct place place;
	struct record record;
	enum ring_read result;

	memset(garbage, 0x5a, sizeof(garbage));
	fixture_make(&fixture, RING_MIN_CAPACITY);
	for (int i = 0; i < 2000; i++)
		fixture_transaction(&fixture, 2);
	fixture_checkpoint(&fixture);
	uint64_t middle = (ring_head(fixture.ring) + ring_tail(fixture.ring)) / 2 % ring_capacity(fixture.ring);
	overwrite(fixture.path, (off_t)(fixture.ring->sections.data_offset + middle), garbage, sizeof(garbage));
	ok(!ring_is_damaged(fixture.ring), "nobody has seen the damage yet");
	ring_seek(fixture.ring, &earliest, &place);
	while ((result = ring_read(fixture.ring, place.position, &record)) == RING_READ_OK)
		place_advance(&place, &record);
	ok(result == RING_READ_DAMAGED, "a reader stops at bytes that are no record");
	ok(ring_is_damaged(fixture.ring), "and the ring is known to be damaged");

	/* the writer meets them too, when it evicts; it must not go round in circles */
	fixture.ring->live->damaged = 0;
	for (int i = 0; i < 20000 && !ring_is_damaged(fixture.ring); i++) {
		struct change change = {.id = {fixture.lsn + 60, 1}};
		if (ring_writer_change(fixture.writer, &change, (struct bytes){garbage, 1000}) == RING_WRITE_BLOCKED)
			fixture_checkpoint(&fixture);
		else
			fixture_commit(&fixture, fixture.lsn + 60, fixture.lsn + 100);
	}
	ok(ring_is_damaged(fixture.ring), "the writer finds out as well");
	ring_writer_publish(fixture.writer);
	fixture_checkpoint(&fixture);
	fixture.ring->live->damaged = 0;
	fixture.ring->live->boot = 1;
	fixture_close(&fixture);
	ok(ring_file_open(fixture.path, RING_ACCESS_WRITER, &fixture.ring) == RING_FILE_DAMAGED,
	   "after a crash of the machine the chain is looked at, and is not whole");
	ok(ring_file_open(fixture.path, RING_ACCESS_WORKER, &fixture.ring) == RING_FILE_OK &&
		   ring_is_damaged(fixture.ring),
	   "which the master sees");
	fixture.writer = NULL;
	fixture_remove(&fixture);
}

/* Workers begin while the feed recovers the ring: what they would read may never have reached the disk. */
static void test_stale_live_area(void)
{
	struct ring *ring;
	fixture_make(&fixture, RING_MIN_CAPACITY);
	fixture_transaction(&fixture, 3);
	fixture_checkpoint(&fixture);
	uint64_t history = live_load(&fixture.ring->live->history), head = live_load(&fixture.ring->live->head);
	fixture_close(&fixture);

	if (!ok(ring_file_open(fixture.path, RING_ACCESS_WORKER, &ring) == RING_FILE_OK,
			"the master opens the ring"))
		return;
	ring_file_hide_stale(ring);
	is_u64(live_load(&ring->live->history), history,
		   "after a crash of a process its history is there at once");
	live_figure_set(&ring->live->boot, 1);
	live_store(&ring->live->head, head + 4096);
	ring_file_hide_stale(ring);
	is_u64(live_load(&ring->live->history), 0, "after a crash of the machine there is none");
	is_u64(ring_retained(ring), 0, "nor a record");
	ring_set_damaged(ring);
	ok(!ring_is_damaged(ring), "and whoever reads all the same does not condemn the ring");
	fixture_open(&fixture);
	is_u64(live_load(&ring->live->history), history, "before it is recovered");
	is_u64(live_load(&ring->live->head), head, "to where its records reach");
	ring_set_damaged(ring);
	ok(ring_is_damaged(ring), "from then on what is no record is damage");
	ring_file_close(ring);
	fixture_remove(&fixture);
}

static void test_damaged_collections(void)
{
	struct collection collection;

	fixture_make(&fixture, RING_MIN_CAPACITY);
	fixture_transaction(&fixture, 2);
	fixture_checkpoint(&fixture);
	fixture.ring->live->collection_count = UINT32_MAX;
	ok(!ring_collection(fixture.ring, fixture.ring->sections.collection_capacity, &collection),
	   "whatever the live area says after power loss, nobody reads behind the table of collections");
	off_t name = (off_t)fixture.ring->sections.collections_offset + offsetof(struct ring_collection, name);
	fixture_close(&fixture);
	overwrite(fixture.path, name, "z", 1);
	ok(ring_file_open(fixture.path, RING_ACCESS_WRITER, &fixture.ring) == RING_FILE_DAMAGED,
	   "a collection that the checkpoint counts has another name: nobody knows whose its records are");
	fixture.ring = NULL;
	fixture.writer = NULL;
	fixture_remove(&fixture);
}

/* An older copy of the file, over the file: what the writer would add does not follow on it. */
static char *older;
static size_t older_size;

static void put_older(void)
{
	spill(fixture.path, older, older_size);
}

static void make_older(void)
{
	fixture_make(&fixture, RING_MIN_CAPACITY);
	fixture_transaction(&fixture, 3);
	fixture_checkpoint(&fixture);
	older = slurp(fixture.path, &older_size);
	for (int i = 0; i < 4; i++) {
		fixture_transaction(&fixture, 3);
		fixture_checkpoint(&fixture);
	}
}

static void test_overwritten_file(void)
{
	make_older();
	uint64_t durable_lsn = ring_live(fixture.ring)->durable_lsn;
	put_older();
	fixture_transaction(&fixture, 3);
	is_u64((uint64_t)fixture_checkpoint(&fixture), ESTALE,
		   "no checkpoint goes into a file that was overwritten");
	ok(ring_is_damaged(fixture.ring), "it counts as damaged");
	fixture_close(&fixture);
	fixture_open(&fixture);
	ok(ring_writer_streamed_lsn(fixture.writer) < durable_lsn,
	   "and what is found again is what the copy has");
	free(older);
	fixture_remove(&fixture);
}

/* It takes a while to write a file over another one, and a checkpoint takes a while, too. */
static void test_overwritten_meanwhile(void)
{
	make_older();
	fixture_transaction(&fixture, 3);
	meanwhile = put_older;
	is_u64((uint64_t)fixture_checkpoint(&fixture), ESTALE,
		   "nor into one that is overwritten while it is synced");
	free(older);
	fixture_remove(&fixture);

	make_older();
	off_t oldest_page = (off_t)((synced_sequence + 1) % 2) * RING_PAGE;
	overwrite(fixture.path, oldest_page, older + oldest_page, RING_PAGE);
	fixture_transaction(&fixture, 3);
	is_u64((uint64_t)fixture_checkpoint(&fixture), ESTALE,
		   "nor where the older copy was there before and behind the last checkpoint");
	free(older);
	fixture_remove(&fixture);
}

static void test_strange_files(void)
{
	struct ring *ring = NULL, *second = NULL;
	fixture_make(&fixture, RING_MIN_CAPACITY);
	fixture_checkpoint(&fixture);
	ok(ring_file_open(fixture.path, RING_ACCESS_WRITER, &second) == RING_FILE_SYSTEM && errno == EWOULDBLOCK,
	   "a second writer is refused");
	ok(ring_file_open(fixture.path, RING_ACCESS_READ, &ring) == RING_FILE_OK, "a reader is not");
	ok(!ring_file_replaced(ring, fixture.path), "its file is the one at the path");
	ok(ring_file_create(fixture.path, RING_MIN_CAPACITY) == RING_FILE_OK &&
		   ring_file_replaced(ring, fixture.path),
	   "until it is re-made");
	ring_file_close(ring);

	ok(ring_file_open(fixture.path, RING_ACCESS_READ, &ring) == RING_FILE_OK, "the new one can be opened");
	if (truncate(fixture.path, RING_PAGE * 4) != 0)
		exit(1);
	ok(ring_file_replaced(ring, fixture.path), "a file that was cut is not the one that was mapped");
	ring_file_close(ring);
	ok(ring_file_open(fixture.path, RING_ACCESS_READ, &ring) == RING_FILE_DAMAGED,
	   "a file cut short is damaged");
	ok(!ring_file_is_foreign(fixture.path), "and still a ring");
	char *zeros = calloc(1, RING_PAGE * 4);
	spill(fixture.path, zeros, RING_PAGE * 4);
	free(zeros);
	ok(ring_file_open(fixture.path, RING_ACCESS_READ, &ring) == RING_FILE_FORMAT, "zeros are no ring");
	ok(ring_file_is_foreign(fixture.path) && ring_file_is_foreign("/dev/null"), "nor is what holds none");
	ok(!ring_file_is_foreign("/nowhere/ring"), "what is not there is not somebody else's");
	ok(ring_file_open("/nowhere/ring", RING_ACCESS_READ, &ring) == RING_FILE_SYSTEM && errno == ENOENT,
	   "no file is errno's to explain");
	fixture_remove(&fixture);
}

int main(void)
{
	test_process_crash();
	test_index_of_what_is_gone();
	test_power_loss(5);
	test_power_loss(9000);
	test_crash_between_eviction_and_checkpoint();
	test_order_of_syncs();
	test_torn_checkpoints();
	test_refusing_disk();
	test_refusing_disk_when_full();
	test_new_history_unsynced();
	test_damage();
	test_stale_live_area();
	test_damaged_collections();
	test_overwritten_file();
	test_overwritten_meanwhile();
	test_strange_files();
	return tap_end();
}
