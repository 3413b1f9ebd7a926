/* document.c: the document of a change in JSON and MessagePack, views, tenants, and bodies that are none. */
#include "core/render/document.h"

#include <sys/resource.h>
#include <unistd.h>

#include "core/render/msgpack_check.h"
#include "example_body.h"
#include "tap.h"

static struct document_reader reader;
static struct buffer out;
static const struct view everything;

static bool read_body(const struct change *change, const struct buffer *body, struct document *ret_document)
{
	return document_read(&reader, change, BYTES("public"), BYTES("users"), buffer_bytes(body),
						 ret_document) == DOCUMENT_READ;
}

static void is_json(const struct change *change, const struct buffer *body, const struct view *view,
					enum document_layout layout, const char *wanted, const char *name)
{
	struct document document;
	if (!ok(read_body(change, body, &document), "%s: is read", name))
		return;
	buffer_clear(&out);
	document = document_shown(&document, view);
	document_append_json(&out, &document, view, layout);
	is_bytes(buffer_bytes(&out), wanted, "%s", name);
}

#define HEAD(operation, id)                                                                                  \
	"{\"collection\":\"users\",\"operation\":\"" operation "\",\"document_id\":" id                          \
	",\"timestamp_ms\":1234567890123,\"lsn\":23987096,\"id\":\"23987096-1\",\"schema\":\"public\",\"xid\":"  \
	"745"
#define ROW(name)                                                                                            \
	"{\"id\":\"u1\",\"name\":\"" name                                                                        \
	"\",\"age\":36,\"visits\":9007199254740993,\"tags\":{\"a\": [1, 2.5, \"x\"]}}"

static void test_members(void)
{
	struct buffer insert = example_insert("u1", "Ada"), update = example_update(), none = {0};
	struct change change = example_change(OPERATION_INSERT);

	is_json(&change, &insert, &everything, DOCUMENT_EVENT,
			HEAD("INSERT", "\"u1\"") ",\"new\":" ROW("Ada") "}", "insert");
	is_json(
		&change, &insert, &everything, DOCUMENT_ITEM,
		"{\"operation\":\"INSERT\",\"document_id\":\"u1\",\"timestamp_ms\":1234567890123,\"lsn\":23987096,"
		"\"collection\":\"users\",\"id\":\"23987096-1\",\"schema\":\"public\",\"xid\":745,\"new\":" ROW(
			"Ada") "}",
		"an item of poll");
	change.operation = OPERATION_UPDATE;
	is_json(&change, &update, &everything, DOCUMENT_EVENT,
			HEAD("UPDATE", "\"u1\"") ",\"new\":" ROW("Ada") ",\"old\":{\"id\":\"u1\",\"name\":\"Augusta\"},"
															"\"unchanged\":[\"biography\"]}",
			"update");
	change.operation = OPERATION_DELETE;
	is_json(&change, &update, &everything, DOCUMENT_EVENT,
			HEAD("DELETE", "\"u1\"") ",\"old\":{\"id\":\"u1\",\"name\":\"Augusta\"}}", "a delete has no new");
	change.operation = OPERATION_TRUNCATE;
	is_json(&change, &none, &everything, DOCUMENT_EVENT, HEAD("TRUNCATE", "null") "}",
			"truncate, an empty body");
	change.operation = OPERATION_UPDATE;
	change.flags = CHANGE_OVERSIZE;
	is_json(&change, &update, &everything, DOCUMENT_EVENT, HEAD("UPDATE", "\"u1\"") ",\"oversize\":true}",
			"an oversize row is told, not shown");
	is_json(&change, &update, &(struct view){.tenant_column = BYTES("org")}, DOCUMENT_EVENT,
			HEAD("UPDATE", "null") ",\"oversize\":true}", "with tenants not its id either");
	buffer_free(&insert);
	buffer_free(&update);
}

static void test_views(void)
{
	struct buffer update = example_update();
	struct change change = example_change(OPERATION_UPDATE);
	struct view view = {.key_only = true};

	is_json(&change, &update, &view, DOCUMENT_EVENT, HEAD("UPDATE", "\"u1\"") "}", "payload=key");
	view = (struct view){
		.column_count = 2, .columns = {BYTES("age"), BYTES("visits")}, .numbers_as_strings = true};
	is_json(&change, &update, &view, DOCUMENT_EVENT,
			HEAD("UPDATE", "\"u1\"") ",\"new\":{\"id\":\"u1\",\"age\":36,\"visits\":\"9007199254740993\"},"
									 "\"old\":{\"id\":\"u1\"}}",
			"columns, keys stay, numbers=string");
	view = (struct view){.column_count = 1, .columns = {BYTES("biography")}};
	is_json(&change, &update, &view, DOCUMENT_EVENT,
			HEAD("UPDATE",
				 "\"u1\"") ",\"new\":{\"id\":\"u1\"},\"old\":{\"id\":\"u1\"},\"unchanged\":[\"biography\"]}",
			"an unchanged column that is asked for");
	buffer_free(&update);
}

static void test_timestamps(void)
{
	struct change change = {.commit_us = -1};
	ok(change_timestamp_ms(&change) == -1, "rounded down before 1970");
	change.commit_us = -1000;
	ok(change_timestamp_ms(&change) == -1, "a whole millisecond before 1970");
	change.commit_us = 1999;
	ok(change_timestamp_ms(&change) == 1, "rounded down after 1970");
}

/* ---- tenants */

static bool sees(const struct document *document, const char *tenant)
{
	return document_matches_tenant(document, BYTES("tenant"), bytes_of(tenant));
}

/* What a row has in its tenant column, beside null (0) and numbers; negative: an int8 of -7. */
enum { NO_COLUMN = 100, BYTEA, ARRAY };

static void pack_tenant_row(struct body *body, int tenant)
{
	msgpack_pack_map(&body->packer, tenant == NO_COLUMN ? 0 : 1);
	if (tenant == NO_COLUMN)
		return;
	body_str(body, "tenant");
	if (tenant == 0)
		msgpack_pack_nil(&body->packer);
	else if (tenant == BYTEA)
		msgpack_pack_bin_with_body(&body->packer, "\x0a\xff", 2);
	else if (tenant == ARRAY)
		msgpack_pack_array(&body->packer, 0);
	else if (tenant > 0)
		msgpack_pack_int(&body->packer, tenant);
	else
		body_extension(body, VALUE_BIGINT, "-7");
}

/* An UPDATE of the key from u1 to u2, whose rows have these tenants. */
static struct document tenant_document(struct change *change, struct body *body, int new_tenant,
									   int old_tenant)
{
	struct document document = {0};
	*change = example_change(OPERATION_UPDATE);
	body_begin(body, 6, "u2", "id");
	pack_tenant_row(body, new_tenant);
	pack_tenant_row(body, old_tenant);
	msgpack_pack_array(&body->packer, 1);
	body_str(body, "large");
	body_str(body, "u1");
	ok(read_body(change, &body->bytes, &document), "an update with tenants %d and %d is read", new_tenant,
	   old_tenant);
	return document;
}

/* Who sees an UPDATE with these tenants: not those of `others`, who are none of the two, but `mine`. */
static void is_seen(int new_tenant, int old_tenant, const char *mine, const char *others, const char *name)
{
	struct change change;
	struct body body;
	struct document document = tenant_document(&change, &body, new_tenant, old_tenant);

	ok(sees(&document, mine) && !sees(&document, others), "%s", name);
	buffer_free(&body.bytes);
}

/* What a tenant is shown of an UPDATE with these tenants. */
static void is_shown(int new_tenant, int old_tenant, const char *tenant, bool key_only, const char *wanted,
					 const char *name)
{
	struct change change;
	struct body body;
	struct view view = {.tenant_column = BYTES("tenant"), .tenant = bytes_of(tenant), .key_only = key_only};

	tenant_document(&change, &body, new_tenant, old_tenant);
	is_json(&change, &body.bytes, &view, DOCUMENT_EVENT, wanted, name);
	buffer_free(&body.bytes);
}

static void test_moves(void)
{
	is_shown(2, 3, "3", false, HEAD("DELETE", "\"u1\"") ",\"old\":{\"tenant\":3}}",
			 "to whom loses a row it is a DELETE, of the old key");
	is_shown(2, 3, "2", false, HEAD("INSERT", "\"u2\"") ",\"new\":{\"tenant\":2},\"unchanged\":[\"large\"]}",
			 "to whom gets it an INSERT");
	is_shown(2, 3, "3", true, HEAD("DELETE", "\"u1\"") "}", "also with payload=key");
	is_shown(5, 0, "1", false, HEAD("DELETE", "\"u1\"") ",\"old\":{\"tenant\":null}}",
			 "tenant 1 loses what had null");
	is_shown(0, 5, "1", false,
			 HEAD("INSERT", "\"u2\"") ",\"new\":{\"tenant\":null},\"unchanged\":[\"large\"]}",
			 "and gets what has it now");
	is_shown(0, 1, "1", false,
			 HEAD("UPDATE",
				  "\"u2\"") ",\"new\":{\"tenant\":null},\"old\":{\"tenant\":1},\"unchanged\":[\"large\"]}",
			 "from null to 1 nothing moves");
	is_shown(2, NO_COLUMN, "2", false,
			 HEAD("UPDATE", "\"u2\"") ",\"new\":{\"tenant\":2},\"old\":{},\"unchanged\":[\"large\"]}",
			 "nor does what an old row does not tell");
}

static void test_tenants(void)
{
	is_seen(2, 3, "2", "1", "a row that moves is seen by the tenant that gets it");
	is_seen(2, 3, "3", "22", "and by the one that loses it");
	is_seen(-7, 0, "-7", "0", "int8");
	is_seen(-7, 0, "1", "7", "null in the old row was tenant 1's");
	is_seen(0, 0, "1", "2", "null belongs to tenant 1");
	is_seen(2, NO_COLUMN, "2", "1", "an old row without the column does not tell whose it was");
	is_seen(BYTEA, BYTEA, "\\x0aff", "1", "bytea is its hexadecimal text");
	is_seen(BYTEA, BYTEA, "\\x0aff", "\\x0afe", "of the same bytes");
	is_seen(BYTEA, BYTEA, "\\x0aff", "\\x0a", "all of them");
	is_seen(ARRAY, ARRAY, "1", "[]", "what is no scalar belongs to tenant 1");

	struct change change;
	struct document document;
	struct buffer insert = example_insert("u1", "Ada"), none = {0};
	change = example_change(OPERATION_INSERT);
	ok(read_body(&change, &insert, &document) && sees(&document, "1") && !sees(&document, "2"),
	   "a table without the column belongs to tenant 1");
	ok(document_matches_tenant(&document, BYTES("name"), BYTES("Ada")), "text");
	change = example_change(OPERATION_TRUNCATE);
	ok(read_body(&change, &none, &document) && sees(&document, "1") && sees(&document, "2"),
	   "a truncate concerns every tenant");
	buffer_free(&insert);

	struct buffer update = example_update();
	struct bytes unchanged = BYTES("biography");
	change = example_change(OPERATION_UPDATE);
	ok(read_body(&change, &update, &document) && document_matches_tenant(&document, unchanged, BYTES("1")) &&
		   document_matches_tenant(&document, unchanged, BYTES("2")),
	   "so does an update whose tenant is an unchanged TOAST value");
	is_json(&change, &update, &(struct view){.tenant_column = unchanged}, DOCUMENT_EVENT,
			HEAD("UPDATE", "null") ",\"oversize\":true}", "which nobody is shown");
	buffer_free(&update);
}

/* ---- bytes that are no body */

static bool reads(struct bytes body)
{
	struct change change = example_change(OPERATION_INSERT);
	struct document document;
	return document_read(&reader, &change, BYTES("public"), BYTES("users"), body, &document) == DOCUMENT_READ;
}

static void test_malformed(void)
{
	struct buffer insert = example_insert("u1", "Ada");
	unsigned read = 0;

	for (size_t size = 1; size < insert.size; size++)
		read += reads((struct bytes){insert.data, size});
	is_u64(read, 0, "no beginning of a body is read as one");
	buffer_append_char(&insert, 0);
	ok(!reads(buffer_bytes(&insert)), "nor one with a byte more");
	ok(reads(BYTES("\x90")), "an empty array is read");
	ok(!reads(BYTES("\xc1")), "a byte that MessagePack never uses");
	ok(!reads(BYTES("\x80")), "a map");
	ok(!reads(BYTES("\x91\x01")), "a document id that is no str");
	ok(!reads(BYTES("\x92\xc0\x91\x01")), "a key whose name is no str");
	ok(!reads(BYTES("\x93\xc0\xc0\x81\x01\x01")), "a row whose name is no str");
	ok(!reads(BYTES("\x94\xc0\xc0\xc0\x90")), "a row that is no map");
	ok(!reads(BYTES("\x96\xc0\xc0\xc0\xc0\xc0\x01")), "an old id that is no str");
	ok(!reads(BYTES("\xdd\xff\xff\xff\xff")), "an array that claims four billion elements");
	ok(!reads(BYTES("\x93\xc0\xc0\xdf\x7f\xff\xff\xff")), "a map inside that claims two billion members");
	ok(!msgpack_is_whole(BYTES("\xdf\xff\xff\xff\xff\xa1x")),
	   "claims are weighed before anything is allocated");
	ok(!msgpack_is_whole(BYTES("")), "nothing is no object");
	buffer_free(&insert);
}

/* ---- MessagePack */

/* The `new` row's only value of a document in MessagePack, as text made by msgpack_object_print_buffer(). */
static void is_packed(enum value_extension type, const char *value, bool numbers_as_strings,
					  const char *wanted)
{
	struct change change = example_change(OPERATION_INSERT);
	struct view view = {.numbers_as_strings = numbers_as_strings};
	struct document document;
	struct body body;
	msgpack_unpacked unpacked;
	char text[1024] = "";

	body_begin(&body, 3, "u1", "id");
	msgpack_pack_map(&body.packer, 1);
	body_str(&body, "v");
	body_extension(&body, type, value);
	buffer_clear(&out);
	if (read_body(&change, &body.bytes, &document))
		document_append_msgpack(&out, &document, &view, DOCUMENT_EVENT);
	msgpack_unpacked_init(&unpacked);
	if (ok(msgpack_unpack_next(&unpacked, out.data, out.size, NULL) == MSGPACK_UNPACK_SUCCESS, "%s is packed",
		   value)) {
		const msgpack_object_map *members = &unpacked.data.via.map;
		const msgpack_object *row = &members->ptr[members->size - 1].val;
		msgpack_object_print_buffer(text, sizeof(text), row->via.map.ptr[0].val);
	}
	is_text(text, wanted, "%s becomes %s", value, wanted);
	msgpack_unpacked_destroy(&unpacked);
	buffer_free(&body.bytes);
}

static void test_msgpack_values(void)
{
	is_packed(VALUE_BIGINT, "-9223372036854775808", false, "-9223372036854775808");
	is_packed(VALUE_BIGINT, "42", true, "\"42\"");
	is_packed(VALUE_FLOAT, "2.5", true, "2.500000");
	is_packed(VALUE_NUMERIC, "1.50", false, "\"1.50\"");
	is_packed(VALUE_JSON, "{\"b\": [true, false, null], \"a\": \"\\u0041\\\"x\"}", false,
			  "{\"b\"=>[true, false, nil], \"a\"=>\"A\"x\"}");
	is_packed(VALUE_JSON, "[9223372036854775807, 9223372036854775808, -1]", false,
			  "[9223372036854775807, \"9223372036854775808\", -1]");
	is_packed(VALUE_JSON, "[0.5, 0.10000000000000000001, 1e400, 0.0]", false,
			  "[0.500000, \"0.10000000000000000001\", \"1e400\", 0.000000]");
	/* jsonb writes no exponents */
	is_packed(VALUE_JSON, "[0.0000000000000000000000000000012345678901234567]", false, "[0.000000]");
	is_packed(VALUE_JSON, "\"a 12345678901234567890 in a string\"", false,
			  "\"a 12345678901234567890 in a string\"");
	is_packed(VALUE_JSON, "[{\"a\": 1, \"a\": 2}]", false, "\"[{\"a\": 1, \"a\": 2}]\"");
	is_packed(VALUE_JSON, "\"\\ud800\"", false, "\"\"\\ud800\"\"");
}

/* The members' names and the plain values, in order. */
static void test_msgpack_document(void)
{
	struct buffer update = example_update();
	struct change change = example_change(OPERATION_UPDATE);
	struct view view = {.column_count = 2, .columns = {BYTES("age"), BYTES("biography")}};
	struct document document;
	msgpack_unpacked unpacked;
	char text[1024] = "";

	buffer_clear(&out);
	if (ok(read_body(&change, &update, &document), "an update is read"))
		document_append_msgpack(&out, &document, &view, DOCUMENT_ITEM);
	msgpack_unpacked_init(&unpacked);
	if (ok(msgpack_unpack_next(&unpacked, out.data, out.size, NULL) == MSGPACK_UNPACK_SUCCESS, "and packed"))
		msgpack_object_print_buffer(text, sizeof(text), unpacked.data);
	is_text(
		text,
		"{\"operation\"=>\"UPDATE\", \"document_id\"=>\"u1\", \"timestamp_ms\"=>1234567890123, "
		"\"lsn\"=>23987096, "
		"\"collection\"=>\"users\", \"id\"=>\"23987096-1\", \"schema\"=>\"public\", \"xid\"=>745, "
		"\"new\"=>{\"id\"=>\"u1\", \"age\"=>36}, \"old\"=>{\"id\"=>\"u1\"}, \"unchanged\"=>[\"biography\"]}",
		"the same members as in JSON");
	msgpack_unpacked_destroy(&unpacked);
	buffer_free(&update);
}

#define MESSAGE_HEAD                                                                                         \
	"{\"collection\":null,\"operation\":\"MESSAGE\",\"document_id\":null,\"timestamp_ms\":1234567890123,"    \
	"\"lsn\":23987096,\"id\":\"23987096-0\",\"schema\":null,\"xid\":"

static void test_messages(void)
{
	struct buffer text = example_message("jobs", BYTES("a\"b"), true), none = {0};
	struct buffer bytes = example_message("", BYTES("\xFF"), false), row = example_insert("u1", "Ada");
	struct change change = example_change(OPERATION_MESSAGE);
	struct view key_only = {.key_only = true};
	struct document document;

	change.id = (struct cursor){23987096, 0, 1};
	is_json(&change, &text, &everything, DOCUMENT_EVENT,
			MESSAGE_HEAD "745,\"transactional\":true,\"prefix\":\"jobs\",\"content\":\"a\\\"b\"}",
			"a message");
	is_json(&change, &text, &key_only, DOCUMENT_EVENT,
			MESSAGE_HEAD "745,\"transactional\":true,\"prefix\":\"jobs\"}", "without its content");
	change.xid = 0;
	is_json(&change, &bytes, &everything, DOCUMENT_EVENT,
			MESSAGE_HEAD "null,\"transactional\":false,\"prefix\":\"\",\"content\":\"/w==\",\"base64\":true}",
			"bytes, of no transaction");
	change.flags = CHANGE_OVERSIZE;
	is_json(&change, &none, &everything, DOCUMENT_EVENT,
			MESSAGE_HEAD "null,\"oversize\":true,\"transactional\":false}",
			"a message too large for the ring");
	ok(!read_body(&change, &row, &document), "a row is no message");
	change.operation = OPERATION_INSERT;
	ok(!read_body(&change, &text, &document), "a message is no row");
	buffer_free(&text);
	buffer_free(&bytes);
	buffer_free(&row);
}

/* An array of `count` numbers: its objects take some twenty times what its bytes do. */
static struct buffer example_numbers(unsigned count)
{
	struct buffer body = {0};
	msgpack_packer packer;

	msgpack_packer_init(&packer, &body, buffer_msgpack_write);
	msgpack_pack_array(&packer, BODY_NEW + 1);
	msgpack_pack_nil(&packer);
	msgpack_pack_nil(&packer);
	msgpack_pack_map(&packer, 1);
	msgpack_pack_str_with_body(&packer, "v", 1);
	msgpack_pack_array(&packer, count);
	while (count-- > 0)
		msgpack_pack_int(&packer, 1);
	return body;
}

static void test_little_memory(void)
{
	struct buffer body = example_numbers(4000000);
	struct change change = example_change(OPERATION_INSERT);
	struct document document;
	struct rlimit before, little;
	unsigned long pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	if (!ok(file != NULL && fscanf(file, "%lu", &pages) == 1, "what this process has"))
		return;
	fclose(file);
	getrlimit(RLIMIT_AS, &before);
	little = (struct rlimit){pages * (rlim_t)sysconf(_SC_PAGESIZE) + (16 << 20), before.rlim_max};
	setrlimit(RLIMIT_AS, &little);
	ok(document_read(&reader, &change, BYTES("public"), BYTES("users"), buffer_bytes(&body), &document) ==
		   DOCUMENT_NO_MEMORY,
	   "without memory a body is not called malformed");
	setrlimit(RLIMIT_AS, &before);
	ok(read_body(&change, &body, &document), "with it, it is read");
	buffer_free(&body);
}

int main(void)
{
	if (!document_reader_init(&reader))
		return 1;
	test_members();
	test_views();
	test_timestamps();
	test_tenants();
	test_moves();
	test_malformed();
	test_msgpack_values();
	test_msgpack_document();
	test_messages();
	test_little_memory();
	buffer_free(&out);
	document_reader_free(&reader);
	return tap_end();
}
