/* pgoutput.c: messages of the replication protocol, built here byte by byte as its documentation says. */
#include "core/upstream/pgoutput.h"

#include "tap.h"

static struct pgoutput_scratch scratch;
static struct buffer message;

static void put_number(uint64_t number, unsigned size)
{
	while (size-- > 0)
		buffer_append_char(&message, (char)(number >> size * 8));
}

static void put_string(const char *string)
{
	buffer_append(&message, string, strlen(string) + 1);
}

static void put_text(const char *text)
{
	buffer_append_char(&message, 't');
	put_number(strlen(text), 4);
	buffer_append_string(&message, text);
}

static void begin_message(char type)
{
	buffer_clear(&message);
	buffer_append_char(&message, type);
}

/* Decodes a copy that ends where its memory ends, so that a sanitizer sees a read behind it. */
static const char *decode(size_t size, struct pgoutput_message *ret_message)
{
	static char *copy;
	free(copy);
	copy = malloc(size == 0 ? 1 : size);
	memcpy(copy, message.data, size);
	return pgoutput_decode((struct bytes){copy, size}, &scratch, ret_message);
}

static bool decodes(struct pgoutput_message *ret_message)
{
	const char *error = decode(message.size, ret_message);
	return ok(error == NULL, "%c: decodes%s%s", message.data[0],
			  error == NULL ? "" : ", but: ", error == NULL ? "" : error);
}

/* The message as it is decodes; cut anywhere, or one byte longer, it does not. */
static void has_one_length(void)
{
	struct pgoutput_message decoded;
	size_t wrong = 0;
	for (size_t size = 0; size < message.size; size++)
		wrong += decode(size, &decoded) == NULL;
	is_u64(wrong, 0, "%c: refused when cut at any of %zu places", message.data[0], message.size);
	buffer_append_char(&message, 'n');
	ok(decode(message.size, &decoded) != NULL, "%c: refused with a byte too much", message.data[0]);
}

static void refuses(const char *wanted, const char *name)
{
	struct pgoutput_message decoded;
	const char *error = decode(message.size, &decoded);
	is_text(error == NULL ? "no error" : error, wanted, "%s", name);
}

static void test_begin_and_commit(void)
{
	struct pgoutput_message decoded;
	begin_message('B');
	put_number(0x16E0478, 8);
	put_number(0, 8); /* 2000-01-01 */
	put_number(4294967295, 4);
	if (decodes(&decoded)) {
		is_u64(decoded.type, PGOUTPUT_BEGIN, "begin: type");
		is_u64(decoded.begin.commit_lsn, 0x16E0478, "begin: LSN");
		is_u64((uint64_t)decoded.begin.commit_us, 946684800000000,
			   "begin: the epoch of PostgreSQL, in Unix time");
		is_u64(decoded.begin.xid, 4294967295, "begin: xid");
	}
	has_one_length();

	begin_message('C');
	put_number(0, 1);
	put_number(0xFFFFFFFFFFFFFFFF, 8);
	put_number(1, 8);
	put_number((uint64_t)-946684800000001, 8);
	if (decodes(&decoded)) {
		is_u64(decoded.commit.commit_lsn, 0xFFFFFFFFFFFFFFFF, "commit: LSN");
		is_u64(decoded.commit.end_lsn, 1, "commit: end");
		ok(decoded.commit.commit_us == -1, "commit: a time before 1970");
	}
	has_one_length();
}

static void put_relation(const char *schema, unsigned column_count)
{
	begin_message('R');
	put_number(16385, 4);
	put_string(schema);
	put_string("users");
	put_number('d', 1);
	put_number(column_count, 2);
}

static void put_column(bool is_identity, const char *name, uint32_t oid, int32_t modifier)
{
	put_number(is_identity, 1);
	put_string(name);
	put_number(oid, 4);
	put_number((uint32_t)modifier, 4);
}

static void test_relation(void)
{
	struct pgoutput_message decoded;
	put_relation("shop", 2);
	put_column(true, "id", 20, -1);
	put_column(false, "", 1043, 36);
	if (decodes(&decoded)) {
		is_u64(decoded.relation.oid, 16385, "relation: OID");
		is_bytes(decoded.relation.schema, "shop", "relation: schema");
		is_bytes(decoded.relation.name, "users", "relation: name");
		ok(bytes_equal(decoded.relation.raw_name, BYTES("shop\0users\0")),
		   "relation: both as they were sent");
		ok(decoded.relation.replica_identity == 'd', "relation: replica identity");
		is_u64(decoded.relation.column_count, 2, "relation: columns");
		const struct pgoutput_column *columns = decoded.relation.columns;
		ok(columns[0].is_identity && !columns[1].is_identity, "column: is in the identity, or not");
		is_bytes(columns[0].name, "id", "column: name");
		is_bytes(columns[1].name, "", "column: empty name");
		is_u64(columns[0].type_oid, 20, "column: bigint");
		is_u64(columns[1].type_oid, 1043, "column: varchar(32)");
	}
	has_one_length();

	put_relation("", 0);
	if (decodes(&decoded))
		is_bytes(decoded.relation.schema, "pg_catalog", "relation: no schema is pg_catalog");

	put_relation("s", PGOUTPUT_COLUMNS_MAX);
	for (unsigned i = 0; i < PGOUTPUT_COLUMNS_MAX; i++)
		put_column(false, "c", 25, -1);
	if (decodes(&decoded))
		is_u64(decoded.relation.column_count, PGOUTPUT_COLUMNS_MAX, "relation: as many columns as can be");
	put_relation("s", PGOUTPUT_COLUMNS_MAX + 1);
	refuses("relation with too many columns", "relation: one more than can be");
}

static void begin_row(char type)
{
	begin_message(type);
	put_number(16385, 4);
}

static void put_tuple(char part, unsigned column_count)
{
	buffer_append_char(&message, part);
	put_number(column_count, 2);
}

static void test_insert(void)
{
	struct pgoutput_message decoded;
	begin_row('I');
	put_tuple('N', 3);
	put_text("one");
	put_number('n', 1);
	put_text("");
	if (decodes(&decoded)) {
		const struct pgoutput_tuple *row = &decoded.row.new_row;
		is_u64(decoded.row.oid, 16385, "insert: relation");
		ok(!decoded.row.old_row.present && row->present && !row->key_only, "insert: a new row only");
		is_u64(row->column_count, 3, "insert: columns");
		ok(row->columns[0].kind == PGOUTPUT_TEXT, "insert: text");
		is_bytes(row->columns[0].text, "one", "insert: its bytes");
		ok(row->columns[1].kind == PGOUTPUT_NULL, "insert: null");
		ok(row->columns[2].kind == PGOUTPUT_TEXT && row->columns[2].text.size == 0,
		   "insert: empty text is not null");
	}
	has_one_length();

	begin_row('I');
	put_tuple('N', 0);
	if (decodes(&decoded))
		ok(decoded.row.new_row.present && decoded.row.new_row.column_count == 0,
		   "insert: a row without columns");
}

static void test_update(void)
{
	struct pgoutput_message decoded;
	begin_row('U');
	put_tuple('N', 2);
	put_text("1");
	put_number('u', 1);
	if (decodes(&decoded)) {
		ok(!decoded.row.old_row.present, "update: no old row if the identity did not change");
		ok(decoded.row.new_row.columns[1].kind == PGOUTPUT_UNCHANGED, "update: unchanged TOAST");
	}
	has_one_length();

	begin_row('U');
	put_tuple('K', 2);
	put_text("old");
	put_number('n', 1);
	put_tuple('N', 2);
	put_text("new");
	put_text("x");
	if (decodes(&decoded)) {
		ok(decoded.row.old_row.present && decoded.row.old_row.key_only, "update: an old key");
		is_bytes(decoded.row.old_row.columns[0].text, "old", "update: the old key's value");
		is_bytes(decoded.row.new_row.columns[0].text, "new", "update: the new key's value");
	}
	has_one_length();
}

static void test_delete(void)
{
	struct pgoutput_message decoded;
	begin_row('D');
	put_tuple('O', 1);
	put_text("gone");
	if (decodes(&decoded)) {
		ok(decoded.row.old_row.present && !decoded.row.old_row.key_only, "delete: a whole old row");
		ok(!decoded.row.new_row.present, "delete: no new row");
		is_bytes(decoded.row.old_row.columns[0].text, "gone", "delete: its value");
	}
	has_one_length();
}

static void test_malformed_rows(void)
{
	const char *without = "row message without the tuple that it has to have";
	begin_row('I');
	put_tuple('K', 0);
	refuses(without, "insert: an old key");
	begin_row('D');
	put_tuple('N', 0);
	refuses(without, "delete: a new row");
	begin_row('U');
	put_tuple('O', 0);
	put_tuple('K', 0);
	refuses(without, "update: two old rows");

	begin_row('I');
	put_tuple('N', 1);
	buffer_append_char(&message, 'b');
	put_number(0, 4);
	refuses("binary value, where text was asked for", "insert: a binary value");
	begin_row('I');
	put_tuple('N', 1);
	buffer_append_char(&message, 'x');
	refuses("unknown kind of value in a tuple", "insert: an unknown kind of value");
	begin_row('I');
	put_tuple('N', PGOUTPUT_COLUMNS_MAX + 1);
	refuses("tuple with too many columns", "insert: too many columns");
	begin_row('I');
	put_tuple('N', 1);
	buffer_append_char(&message, 't');
	put_number(0xFFFFFFFF, 4);
	refuses("truncated tuple", "insert: a length beyond the message");
}

static void test_truncate(void)
{
	struct pgoutput_message decoded;
	begin_message('T');
	put_number(2, 4);
	put_number(3, 1);
	put_number(16385, 4);
	put_number(0xFFFFFFFE, 4);
	if (decodes(&decoded)) {
		is_u64(decoded.truncate.relation_count, 2, "truncate: relations");
		is_u64(pgoutput_truncated(&decoded, 0), 16385, "truncate: the first");
		is_u64(pgoutput_truncated(&decoded, 1), 0xFFFFFFFE, "truncate: the second");
	}
	has_one_length();
	begin_message('T');
	put_number(0xFFFFFFFF, 4);
	put_number(0, 1);
	refuses("truncated message", "truncate: more relations than there is room for");
}

static void test_message(void)
{
	struct pgoutput_message decoded;
	begin_message('M');
	put_number(1, 1);
	put_number(42, 8);
	put_string("prefix");
	put_number(3, 4);
	buffer_append(&message, "a\0b", 3);
	if (decodes(&decoded)) {
		ok(decoded.message.transactional, "message: transactional");
		is_u64(decoded.message.lsn, 42, "message: LSN");
		is_bytes(decoded.message.prefix, "prefix", "message: prefix");
		ok(bytes_equal(decoded.message.content, (struct bytes){"a\0b", 3}), "message: any bytes");
	}
	has_one_length();
}

static void test_types(void)
{
	struct pgoutput_message decoded;
	begin_message('O');
	put_number(42, 8);
	put_string("elsewhere");
	if (decodes(&decoded))
		is_u64(decoded.type, PGOUTPUT_ORIGIN, "origin: recognised");
	begin_message('Y');
	put_number(16400, 4);
	put_string("public");
	put_string("mood");
	if (decodes(&decoded))
		is_u64(decoded.type, PGOUTPUT_TYPE, "type: recognised");

	buffer_clear(&message);
	refuses("empty message", "no bytes at all");
	begin_message('S');
	refuses("unknown message type", "a message of a streamed transaction");
}

int main(void)
{
	test_begin_and_commit();
	test_relation();
	test_insert();
	test_update();
	test_delete();
	test_malformed_rows();
	test_truncate();
	test_message();
	test_types();
	buffer_free(&message);
	return tap_end();
}
