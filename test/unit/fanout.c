/*
 * fanout.c: streams of several audiences follow a ring that is written and drained at random, fall behind, are
 * passed, leave and begin again. Each has to get every change of its audience once and in order, or be told
 * exactly how many it lost, and all get the same bytes for a change.
 */
#include "http/fanout.h"

#include <dlfcn.h>
#include <unistd.h>

#include "core/clock.h"
#include "ring_fixture.h"
#include "tap.h"

enum { STREAMS = 12, AUDIENCES = 3, STEPS = 60000, FIRST_LSN = 1060, STEP = 100, CHANGES = 3 };

struct stream {
	struct audience *audience;
	struct reader reader;
	struct footing at;
	bool live;
	bool idle;          /* takes nothing for some time */
	uint64_t seen;      /* of the audience's changes: all up to this one were got or said to be lost */
	uint64_t got, lost; /* since it began */
};

static const char *const paths[AUDIENCES] = {"a", "b", "*"};
static struct fixture fixture;
static struct reader_scratch scratch;
static struct fanout fanout;
static struct changefeed_options options;
static struct stream streams[STREAMS];
static uint64_t transactions;
static uint64_t frame_hashes[AUDIENCES][1 << 18]; /* of the frame of each change as it was first seen */
static uint64_t disorder, different, rendered, sent, spooled;

static unsigned audience_number(const struct audience *audience)
{
	return audience->selection.all ? 2 : audience->selection.collections[0];
}

/* Collections take turns: of the three changes of a transaction `a` has the first and the third. */
static uint64_t audience_ordinal(const struct audience *audience, struct cursor id)
{
	uint64_t transaction = (id.lsn - FIRST_LSN) / STEP;
	if (audience->selection.all)
		return transaction * CHANGES + id.n;
	return audience->selection.collections[0] == 0 ? transaction * 2 + (id.n + 1) / 2 : transaction + 1;
}

/* How many of the audience's changes lie before a place. */
static uint64_t audience_before(const struct audience *audience, struct cursor cursor)
{
	uint64_t end = cursor.n == 0 ? STEP - 1 : 0; /* the cursor behind a transaction is its end */
	uint64_t whole = cursor.lsn < FIRST_LSN ? 0 : (cursor.lsn - FIRST_LSN + end) / STEP;
	if (audience->selection.all)
		return whole * CHANGES + cursor.n;
	return audience->selection.collections[0] == 0 ? whole * 2 + (cursor.n + 1) / 2 : whole + cursor.n / 2;
}

static uint64_t audience_total(const struct audience *audience)
{
	return audience->selection.all ? transactions * CHANGES
								   : transactions * (audience->selection.collections[0] == 0 ? 2 : 1);
}

/* From here on nothing may be lost without a word. */
static void read_up_to_place(struct stream *stream)
{
	if (stream->seen == UINT64_MAX)
		stream->seen = audience_before(stream->audience, stream->reader.place.cursor);
}

static struct audience *join(const char *path, const struct changefeed_options *of)
{
	struct subscription_request request = {.delivery = DELIVERY_SSE, .path = bytes_of(path)};
	struct subscription subscription;
	struct selection selection;
	struct problem problem;

	if (!subscription_parse(&request, &subscription, &problem) ||
		!selection_resolve(&subscription, fixture.ring, BYTES("changefeed"), &selection, &problem))
		abort();
	struct audience *audience = fanout_join(&fanout, &subscription, &selection, of);
	subscription_free(&subscription);
	return audience;
}

static void begin(struct stream *stream, const char *path, enum cursor_kind kind)
{
	*stream = (struct stream){.audience = join(path, &options)};
	reader_init(&stream->reader, fixture.ring, &stream->audience->scope, (struct start){.kind = kind});
	stream->at = (struct footing){.from = stream->reader.place.position};
	stream->seen = UINT64_MAX; /* the oldest may be evicted without a word, until something is read */
	if (kind == CURSOR_NOW)
		read_up_to_place(stream);
}

static void set_live(struct stream *stream, bool live)
{
	if (live && !stream->live)
		audience_follow(stream->audience);
	if (!live && stream->live)
		audience_unfollow(stream->audience);
	stream->live = live;
}

static void end(struct stream *stream)
{
	set_live(stream, false);
	fanout_leave(stream->audience);
}

static uint64_t hash(struct bytes frame)
{
	uint64_t hash = 14695981039346656037u;
	for (size_t i = 0; i < frame.size; i++)
		hash = (hash ^ (unsigned char)frame.data[i]) * 1099511628211u;
	return hash;
}

static void take_frame(struct stream *stream, struct bytes frame)
{
	struct cursor id;
	if (sscanf(frame.data, "id: %" SCNu64 "-%" SCNu64, &id.lsn, &id.n) != 2)
		abort();
	uint64_t ordinal = audience_ordinal(stream->audience, id);
	uint64_t *first = &frame_hashes[audience_number(stream->audience)][ordinal];

	if (stream->seen != UINT64_MAX && ordinal != stream->seen + 1)
		disorder++;
	stream->seen = ordinal;
	stream->got++;
	if (*first == 0)
		*first = hash(frame);
	different += *first != hash(frame);
}

/* What would go out from the spool is the same. */
static void compare_spooled(const struct slice *slice)
{
	static char copy[2 * SEGMENT_SIZE];
	ssize_t size = (ssize_t)slice->bytes.size;
	size_t at;
	int spool = segment_spool(slice->segment, slice->bytes, &at);

	if (spool < 0)
		return;
	spooled++;
	if (pread(spool, copy, sizeof(copy), (off_t)at) < size ||
		memcmp(copy, slice->bytes.data, slice->bytes.size) != 0)
		different++;
}

static void take(struct stream *stream, const struct slice *slice)
{
	struct bytes rest = slice->bytes;
	uint64_t events = 0;

	compare_spooled(slice);
	while (rest.size > 0) {
		const char *last = memmem(rest.data, rest.size, "\n\n", 2);
		struct bytes frame = {rest.data, (size_t)(last + 2 - rest.data)};
		take_frame(stream, frame);
		rest = (struct bytes){rest.data + frame.size, rest.size - frame.size};
		events++;
	}
	if (events != slice->events)
		disorder++;
	sent += events;
	segment_release(slice->segment);
}

static void render_behind(struct stream *stream)
{
	uint64_t walked = 0, lagged = 0;
	enum reader_event event = audience_render(stream->audience, &stream->reader, &walked, &lagged);

	if (event == READER_CHANGE)
		read_up_to_place(stream);
	if (event == READER_GAP) {
		stream->lost += lagged;
		stream->seen += lagged;
	}
	stream->at = (struct footing){.from = stream->reader.place.position};
}

/* What a stream of stream.c does with what it is told, without a client. */
static void step(struct stream *stream)
{
	struct slice slice;

	if (stream->live && audience_at_front(stream->audience, &stream->at))
		return;
	uint64_t position = stream->reader.place.position;
	if (audience_slice(stream->audience, &stream->at, &stream->reader, &slice)) {
		take(stream, &slice);
	} else if (stream->reader.place.position < fanout.place.position) {
		set_live(stream, false);
		if (stream->reader.place.position > position)
			read_up_to_place(stream);
		render_behind(stream);
		return;
	}
	if (stream->reader.place.position == fanout.place.position && !stream->live) {
		set_live(stream, true);
		stream->at = audience_front(stream->audience);
		stream->reader.fresh = false;
		read_up_to_place(stream);
	}
}

static void drain(void)
{
	enum fanout_drain result = fanout_drain(&fanout, 1 + (uint64_t)random() % 20000);
	fanout_settle(&fanout);
	if (result != FANOUT_BROKEN)
		return;
	for (int i = 0; i < STREAMS; i++)
		set_live(&streams[i], false);
}

static void write_transactions(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		fixture_transaction(&fixture, CHANGES);
	transactions += count;
	ring_writer_publish(fixture.writer);
}

static void act(void)
{
	struct stream *stream = &streams[random() % STREAMS];
	long what = random() % 1000;

	if (what < 200) {
		write_transactions(1 + (unsigned)random() % 8);
	} else if (what < 400) {
		drain();
	} else if (what < 402) {
		end(stream);
		begin(stream, paths[random() % AUDIENCES], random() % 2 == 0 ? CURSOR_EARLIEST : CURSOR_NOW);
	} else if (what < 410) {
		stream->idle = !stream->idle;
	} else if (what < 412) {
		audience_rest(stream->audience);
	} else if (!stream->idle) {
		step(stream);
	}
}

static void finish(struct stream *stream)
{
	for (int i = 0; i < 1000000; i++) {
		drain();
		step(stream);
		if (stream->live && audience_at_front(stream->audience, &stream->at) &&
			fanout.place.position == ring_head(fixture.ring))
			return;
	}
}

static uint64_t retained_of(uint32_t collection)
{
	struct record record;
	uint64_t count = 0;
	for (uint64_t at = ring_tail(fixture.ring); ring_read(fixture.ring, at, &record) == RING_READ_OK;
		 at = record.next)
		count += record.kind == RECORD_CHANGE && record.change.collection == collection;
	return count;
}

/* A start at the oldest may lose something without a word only until something was read, though it was
 * nothing for it; one that begins now may not at all. */
static void test_first_gap(void)
{
	enum { TRANSACTIONS = 6000 };
	struct stream rendered, sliced, now;
	uint64_t walked = 0, lagged[3] = {0};
	struct slice slice;

	for (int i = 0; i < TRANSACTIONS; i++)
		fixture_transaction(&fixture, 1);
	fixture_checkpoint(&fixture);
	while (fanout_drain(&fanout, UINT64_MAX) != FANOUT_IDLE)
		fanout_settle(&fanout);
	begin(&rendered, "b", CURSOR_EARLIEST);
	begin(&sliced, "b", CURSOR_EARLIEST);
	begin(&now, "b", CURSOR_NOW);
	ok(audience_render(rendered.audience, &rendered.reader, &walked, lagged) == READER_CHANGE,
	   "there is a segment without frames");
	uint64_t position = sliced.reader.place.position;
	ok(!audience_slice(sliced.audience, &sliced.at, &sliced.reader, &slice) &&
		   sliced.reader.place.position > position,
	   "who comes there passes over it");
	for (int i = 0; i < TRANSACTIONS; i++)
		fixture_transaction(&fixture, 2);
	fixture_checkpoint(&fixture);
	while (fanout_drain(&fanout, UINT64_MAX) != FANOUT_IDLE)
		fanout_settle(&fanout);
	uint64_t lost = TRANSACTIONS - retained_of(1);
	audience_render(rendered.audience, &rendered.reader, &walked, &lagged[0]);
	audience_render(sliced.audience, &sliced.reader, &walked, &lagged[1]);
	audience_render(now.audience, &now.reader, &walked, &lagged[2]);
	is_u64(lagged[0], lost, "the first gap of one who rendered only that is told");
	is_u64(lagged[1], lost, "and of one who passed over only that");
	is_u64(lagged[2], lost, "and of one who began with what comes");
	end(&rendered);
	end(&sliced);
	end(&now);
}

/* Many audiences want the same changes in different forms: a turn has an end all the same, and so has their
 * number. */
static void test_work(void)
{
	enum { MANY = 100, TRANSACTIONS = 100 };
	static struct changefeed_options forms[MANY];
	struct audience *audiences[MANY];

	while (fanout_drain(&fanout, UINT64_MAX) != FANOUT_IDLE)
		fanout_settle(&fanout);
	for (int i = 0; i < MANY; i++) {
		audiences[i] = join("*", &forms[i]);
		audience_follow(audiences[i]);
	}
	for (int i = 0; i < TRANSACTIONS; i++)
		fixture_transaction(&fixture, 1);
	fixture_checkpoint(&fixture);
	fanout.renders = 0;
	enum fanout_drain drained = fanout_drain(&fanout, UINT64_MAX);
	ok(drained == FANOUT_MORE && fanout.renders > 0 && fanout.renders <= RENDER_BUDGET / FRAME_COST + MANY,
	   "a drain for many audiences ends after %" PRIu64 " frames", fanout.renders);
	while (fanout_drain(&fanout, UINT64_MAX) != FANOUT_IDLE)
		fanout_settle(&fanout);
	is_u64(fanout.renders, MANY * TRANSACTIONS, "and the next ones go on");
	fanout.audience_count += AUDIENCES_MAX;
	ok(join("*", &options) == NULL, "there is no audience beyond their bound");
	fanout.audience_count -= AUDIENCES_MAX;
	for (int i = 0; i < MANY; i++) {
		audience_unfollow(audiences[i]);
		fanout_leave(audiences[i]);
	}
}

/* So has what is done for one change that thousands want, each in another form: the rest is left to the
 * streams. */
static void test_forms(void)
{
	enum { MANY = 5000, MOST = 2 * RENDER_BUDGET / FRAME_COST };
	static struct changefeed_options forms[MANY];
	static struct audience *audiences[MANY];
	unsigned left = 0;

	for (int i = 0; i < MANY; i++) {
		audiences[i] = join("*", &forms[i]);
		audience_follow(audiences[i]);
	}
	fixture_transaction(&fixture, 1);
	fixture_checkpoint(&fixture);
	fanout.renders = 0;
	while (fanout_drain(&fanout, UINT64_MAX) != FANOUT_IDLE)
		fanout_settle(&fanout);
	for (int i = 0; i < MANY; i++)
		left += audiences[i]->open == NULL;
	ok(fanout.renders > MOST / 2 && fanout.renders <= MOST,
	   "a change is rendered in one go in no more than %" PRIu64 " forms", fanout.renders);
	is_u64(left, MANY - fanout.renders, "and is left to the streams that want it in others");
	for (int i = 0; i < MANY; i++) {
		audience_unfollow(audiences[i]);
		fanout_leave(audiences[i]);
	}
}

/* Thousands who want 64 tables each, and in a form of their own, leave at the same time: that takes no longer
 * than they took to come, and the others stay who they are. */
static void test_leave(void)
{
	enum { MANY = 8000, STAY = 7 };
	static struct changefeed_options forms[MANY];
	static struct audience *audiences[MANY];
	struct buffer path = {0};
	unsigned changed = 0, stayed = 0;
	char name[COLLECTION_NAME_SIZE];

	for (unsigned i = 0; i < SUBSCRIPTION_NAMES_MAX; i++) {
		snprintf(name, sizeof(name), "%c%.0u", i == 0 ? 'a' : 'b', i == 0 ? 0 : i - 1); /* a, b, b1, ... */
		uint32_t id = ring_writer_collection(fixture.writer, BYTES("public"), bytes_of(name));
		ring_writer_set_published(fixture.writer, id, true);
		buffer_printf(&path, "%s%s", i == 0 ? "" : ",", name);
	}
	while (fanout_drain(&fanout, UINT64_MAX) != FANOUT_IDLE)
		fanout_settle(&fanout);
	int64_t began_us = clock_monotonic_us();
	for (int i = 0; i < MANY; i++)
		audiences[i] = join(i % STAY == 0 ? "b" : buffer_string(&path), &forms[i]);
	int64_t joined_us = clock_monotonic_us();
	for (int i = MANY; i-- > 0;) {
		if (i % STAY != 0)
			fanout_leave(audiences[i]);
	}
	int64_t left_us = clock_monotonic_us();
	ok(left_us - joined_us < joined_us - began_us, "%d audiences come in %" PRIi64 " ms and go in %" PRIi64,
	   MANY, (joined_us - began_us) / 1000, (left_us - joined_us) / 1000);
	fixture_transaction(&fixture, 2);
	fixture_checkpoint(&fixture);
	fanout_drain(&fanout, UINT64_MAX);
	for (int i = 0; i < MANY; i += STAY) {
		changed += h2o_linklist_is_linked(&audiences[i]->changed_link);
		stayed++;
		fanout_leave(audiences[i]);
	}
	is_u64(changed, stayed, "those who stay get what they want");
	fanout_settle(&fanout);
	buffer_free(&path);
}

/*
 * A client that takes nothing holds what it is being sent, though it is dropped. Beyond the bound, each
 * further one holds a small piece.
 */
static void test_held(void)
{
	static struct slice slices[4096];
	struct stream stream;
	size_t count = 0, largest = 0;
	bool beyond = false;

	fanout.kept.limit = 0;
	fanout.kept.held_limit = 4 * SEGMENT_SIZE;
	begin(&stream, "*", CURSOR_EARLIEST);
	while (count < 4096 && stream.reader.place.position < fanout.place.position) {
		uint64_t walked = 0, lagged = 0;
		if (audience_slice(stream.audience, &stream.at, &stream.reader, &slices[count])) {
			if (beyond && slices[count].bytes.size > largest)
				largest = slices[count].bytes.size;
			count++;
		} else {
			beyond = fanout.kept.held > fanout.kept.held_limit;
			audience_render(stream.audience, &stream.reader, &walked, &lagged);
		}
		stream.at = (struct footing){.from = stream.reader.place.position};
	}
	ok(fanout.kept.held > fanout.kept.held_limit && count > 10, "%zu sends hold %zu kB that are not kept",
	   count, fanout.kept.held / 1024);
	ok(largest > 0 && largest < 2 * SEGMENT_SIZE_SMALL, "the largest of them beyond the bound has %zu bytes",
	   largest);
	while (count > 0)
		segment_release(slices[--count].segment);
	end(&stream);
	is_u64(fanout.kept.held, 0, "nothing is held when all has been sent");
}

/* Open segments cannot be dropped: while they are many, each is small. */
static void test_open(void)
{
	enum { MANY = 100, ROUNDS = 100 };
	static struct changefeed_options forms[MANY];
	struct audience *audiences[MANY];
	size_t most = 0;

	fanout.kept.held_limit = 4 * SEGMENT_SIZE;
	for (int i = 0; i < MANY; i++) {
		audiences[i] = join("*", &forms[i]);
		audience_follow(audiences[i]);
	}
	for (int round = 0; round < ROUNDS; round++) {
		size_t open = 0;
		fixture_transaction(&fixture, CHANGES);
		fixture_checkpoint(&fixture);
		while (fanout_drain(&fanout, UINT64_MAX) != FANOUT_IDLE)
			fanout_settle(&fanout);
		for (int i = 0; i < MANY; i++)
			open += audiences[i]->open == NULL ? 0 : audiences[i]->open->capacity;
		most = open > most ? open : most;
	}
	ok(most > fanout.kept.held_limit && most < fanout.kept.held_limit + 2 * MANY * SEGMENT_SIZE_SMALL,
	   "%d audiences have at most %zu kB in open segments", MANY, most / 1024);
	for (int i = 0; i < MANY; i++) {
		audience_unfollow(audiences[i]);
		fanout_leave(audiences[i]);
	}
	is_u64(fanout.kept.held, 0, "and nothing when they are gone");
	is_u64(fanout.wanted, 0, "and nothing is wanted");
}

/* What the feed does while a change is being read. */
static void (*meanwhile)(void);

msgpack_unpack_return msgpack_unpack(const char *data, size_t size, size_t *offset, msgpack_zone *zone,
									 msgpack_object *result)
{
	static __typeof__(msgpack_unpack) *libmsgpack;
	void (*happens)(void) = meanwhile;

	if (libmsgpack == NULL)
		*(void **)&libmsgpack = dlsym(RTLD_NEXT, "msgpack_unpack");
	meanwhile = NULL;
	if (happens != NULL)
		happens();
	return libmsgpack(data, size, offset, zone, result);
}

static void begin_history(void)
{
	struct ring_identity identity = {.system_identifier = 8, .timeline = 1, .slot = "changefeed"};

	ring_writer_begin_history(fixture.writer, &identity, fixture.lsn + 1000);
	fixture.lsn += 1000;
	fixture_transaction(&fixture, 1);
	ring_writer_publish(fixture.writer);
}

/* A history ends while its last change is drained, and the drain would go on in the next one. */
static void test_new_history(void)
{
	struct change last = {.id = {fixture.lsn + 60, 1, 0}, .operation = OPERATION_INSERT};
	struct stream stream;
	struct slice slice;

	while (fanout_drain(&fanout, UINT64_MAX) != FANOUT_IDLE)
		fanout_settle(&fanout);
	begin(&stream, "a", CURSOR_NOW);
	set_live(&stream, true);
	stream.at = audience_front(stream.audience);
	ring_writer_change(fixture.writer, &last, BYTES("\x90"));
	ring_writer_publish(fixture.writer);
	meanwhile = begin_history;
	ok(fanout_drain(&fanout, UINT64_MAX) == FANOUT_BROKEN && fanout.new_history,
	   "a history that begins while the drain reads is noticed");
	ok(!audience_slice(stream.audience, &stream.at, &stream.reader, &slice),
	   "and nothing of it is sent to a stream that has not been told");
	fanout_settle(&fanout);
	end(&stream);
}

int main(void)
{
	uint64_t lost = 0, incomplete = 0;

	srandom(1);
	fixture_make(&fixture, RING_MIN_CAPACITY);
	ring_writer_set_published(fixture.writer, 0, true);
	ring_writer_set_published(fixture.writer, 1, true);
	fixture_checkpoint(&fixture);
	if (!reader_scratch_init(&scratch) || !fanout_init(&fanout, fixture.ring, &scratch))
		return 1;
	fanout.kept.limit = 256 * 1024; /* so that much is dropped */
	fanout.kept.readers = STREAMS;
	for (int i = 0; i < STREAMS; i++)
		begin(&streams[i], paths[i % AUDIENCES], CURSOR_EARLIEST);
	for (int i = 0; i < STEPS; i++)
		act();
	for (int i = 0; i < STREAMS; i++) {
		finish(&streams[i]);
		lost += streams[i].lost;
		incomplete += streams[i].got > 0 && streams[i].seen != audience_total(streams[i].audience);
	}
	rendered = fanout.renders;
	is_u64(disorder, 0,
		   "every stream gets every change of its audience once and in order, or is told how many it lost");
	is_u64(incomplete, 0, "and comes to the end");
	is_u64(different, 0, "all get the same bytes");
	ok(lost > 0, "some were passed by the ring: %" PRIu64 " changes lost", lost);
	ok(sent > rendered, "%" PRIu64 " frames were rendered for %" PRIu64 " that were sent", rendered, sent);
	ok(spooled > 0, "%" PRIu64 " sends would have been from the spool", spooled);
	ok(fanout.kept.bytes <= fanout.kept.limit, "what is kept has a bound");
	for (int i = 0; i < STREAMS; i++)
		end(&streams[i]);
	ok(h2o_linklist_is_empty(&fanout.kept.used) && fanout.kept.bytes == 0,
	   "nothing is left of audiences without streams");
	is_u64(fanout.kept.spools, 0, "nor in spools");
	test_first_gap();
	test_work();
	test_forms();
	test_leave();
	test_held();
	test_open();
	test_new_history();
	reader_scratch_free(&scratch);
	fixture_remove(&fixture);
	return tap_end();
}
