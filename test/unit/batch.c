/* batch.c: poll's answer in JSON and MessagePack. */
#include "core/render/batch.h"

#include "example_body.h"
#include "tap.h"

static struct document_reader reader;
static struct batch batch;
static struct buffer out;
static const struct view keys = {.key_only = true};
static const struct batch_cursor next = {.since_ms = 1234567890124, .since = {23987096, 2, 0}};

static void add(uint64_t n)
{
	struct buffer insert = example_insert("u1", "Ada");
	struct change change = example_change(OPERATION_INSERT);
	struct document document;
	change.id.n = n;
	if (ok(document_read(&reader, &change, BYTES("public"), BYTES("users"), buffer_bytes(&insert),
						 &document) == DOCUMENT_READ,
		   "change %" PRIu64 " is read", n))
		batch_add(&batch, &document, &keys);
	buffer_free(&insert);
}

#define ITEM(n)                                                                                              \
	"{\"operation\":\"INSERT\",\"document_id\":\"u1\",\"timestamp_ms\":1234567890123,\"lsn\":23987096,"      \
	"\"collection\":\"users\",\"id\":\"23987096-" n "\",\"schema\":\"public\",\"xid\":745}"

static void test_json(void)
{
	batch_begin(&batch, BATCH_JSON);
	batch_end(&batch, &(struct batch_cursor){.since_ms = 0, .since = {42, 0, 0}}, false, &out);
	is_bytes(buffer_bytes(&out),
			 "{\"changes\":[],\"next_cursor\":{\"since_ms\":0,\"since_lsn\":\"42\"},\"has_more\":false,"
			 "\"count\":0}",
			 "an empty batch");
	buffer_clear(&out);
	batch_begin(&batch, BATCH_JSON);
	add(1);
	add(2);
	batch_end(&batch, &next, true, &out);
	is_bytes(buffer_bytes(&out),
			 "{\"changes\":[" ITEM("1") "," ITEM(
				 "2") "],\"next_cursor\":{\"since_ms\":1234567890124,\"since_lsn\":\"23987096-2\"},"
					  "\"has_more\":true,\"count\":2}",
			 "two changes");
}

static void test_msgpack(void)
{
	msgpack_unpacked unpacked;
	char text[2048] = "";

	buffer_clear(&out);
	batch_begin(&batch, BATCH_MSGPACK);
	add(1);
	ok(batch_size(&batch) > 0, "the batch has a size");
	batch_end(&batch, &next, false, &out);
	msgpack_unpacked_init(&unpacked);
	if (ok(msgpack_unpack_next(&unpacked, out.data, out.size, NULL) == MSGPACK_UNPACK_SUCCESS,
		   "is MessagePack"))
		msgpack_object_print_buffer(text, sizeof(text), unpacked.data);
	is_text(text,
			"{\"changes\"=>[{\"operation\"=>\"INSERT\", \"document_id\"=>\"u1\", "
			"\"timestamp_ms\"=>1234567890123, "
			"\"lsn\"=>23987096, \"collection\"=>\"users\", \"id\"=>\"23987096-1\", \"schema\"=>\"public\", "
			"\"xid\"=>745}], \"next_cursor\"=>{\"since_ms\"=>1234567890124, \"since_lsn\"=>\"23987096-2\"}, "
			"\"has_more\"=>false, \"count\"=>1}",
			"the same document");
	msgpack_unpacked_destroy(&unpacked);
	batch_begin(&batch, BATCH_JSON);
	is_u64(batch_size(&batch), 0, "a batch begins empty");
}

static void test_memory(void)
{
	buffer_clear(&out);
	batch_begin(&batch, BATCH_JSON);
	batch.changes.failed = true;
	batch_end(&batch, &next, false, &out);
	ok(out.failed, "a change that was lost for memory is not hidden");
}

int main(void)
{
	if (!document_reader_init(&reader))
		return 1;
	test_json();
	test_msgpack();
	test_memory();
	batch_free(&batch);
	buffer_free(&out);
	document_reader_free(&reader);
	return tap_end();
}
