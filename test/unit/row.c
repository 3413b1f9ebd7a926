/*
 * row.c: from Relation messages and tuples of pgoutput to the body of a change (src/feed/relation,
 * src/feed/row).
 */
#include "core/render/json.h"
#include "feed/relation.h"
#include "feed/row.h"
#include "tap.h"

enum { OID_INT4 = 23, OID_INT8 = 20, OID_TEXT = 25, OID_ENUM = 100001 };

static struct pgoutput_column column(const char *name, uint32_t type_oid, bool is_identity)
{
	return (struct pgoutput_column){.is_identity = is_identity, .name = bytes_of(name), .type_oid = type_oid};
}

/* Describes table 1; the catalog would answer `key`, names separated by commas. */
static struct relation *describe(struct relation_cache *cache, char replica_identity, unsigned count,
								 struct pgoutput_column *columns, const char *key)
{
	struct pgoutput_message message = {.type = PGOUTPUT_RELATION};
	struct bytes names[4];
	unsigned name_count = 0;

	message.relation.oid = 1;
	message.relation.schema = BYTES("public");
	message.relation.name = BYTES("t");
	message.relation.replica_identity = replica_identity;
	message.relation.column_count = count;
	message.relation.columns = columns;
	struct relation *relation = relation_cache_put(cache, &message);
	while (*key != '\0') {
		size_t size = strcspn(key, ",");
		names[name_count++] = (struct bytes){key, size};
		key += size + (key[size] == ',');
	}
	relation_complete(relation, names, name_count);
	return relation;
}

static struct pgoutput_datum text(const char *value)
{
	return (struct pgoutput_datum){.kind = PGOUTPUT_TEXT, .text = bytes_of(value)};
}

static const struct pgoutput_datum null_datum = {.kind = PGOUTPUT_NULL};
static const struct pgoutput_datum unchanged_datum = {.kind = PGOUTPUT_UNCHANGED};

static struct pgoutput_tuple tuple(struct pgoutput_datum *columns, unsigned count, bool key_only)
{
	return (struct pgoutput_tuple){
		.present = true, .key_only = key_only, .column_count = count, .columns = columns};
}

static const struct pgoutput_tuple no_tuple;

/* The body as JSON, for reading. Valid until the next call. */
static const char *body_of(const struct relation *relation, const struct pgoutput_tuple *old_row,
						   const struct pgoutput_tuple *new_row)
{
	static struct buffer json;
	struct buffer body = {0};
	struct row_scratch scratch = {0};
	msgpack_unpacked unpacked;

	buffer_clear(&json);
	msgpack_unpacked_init(&unpacked);
	if (!row_pack(relation, old_row, new_row, &scratch, &body) || body.failed)
		buffer_append_string(&json, "refused");
	else if (msgpack_unpack_next(&unpacked, body.data, body.size, NULL) != MSGPACK_UNPACK_SUCCESS)
		buffer_append_string(&json, "not MessagePack");
	else
		json_append_value(&json, &unpacked.data, (struct json_options){0});
	msgpack_unpacked_destroy(&unpacked);
	row_scratch_free(&scratch);
	buffer_free(&body);
	return buffer_string(&json);
}

static void test_single_key(struct relation_cache *cache)
{
	struct pgoutput_column columns[] = {column("id", OID_INT8, true), column("big", OID_TEXT, false),
										column("n", OID_INT4, false)};
	const struct relation *relation = describe(cache, 'd', 3, columns, "");
	struct pgoutput_datum inserted[] = {text("9007199254740993"), text("x"), null_datum};
	struct pgoutput_datum updated[] = {text("9007199254740993"), unchanged_datum, text("2")};
	struct pgoutput_datum old_key[] = {text("7"), null_datum, null_datum};
	struct pgoutput_tuple insert = tuple(inserted, 3, false), update = tuple(updated, 3, false);
	struct pgoutput_tuple old = tuple(old_key, 3, true);

	is_text(body_of(relation, &no_tuple, &insert),
			"[\"9007199254740993\",[\"id\"],{\"id\":9007199254740993,\"big\":\"x\",\"n\":null}]",
			"an INSERT");
	is_text(body_of(relation, &no_tuple, &update),
			"[\"9007199254740993\",[\"id\"],{\"id\":9007199254740993,\"n\":2},null,[\"big\"]]",
			"an unchanged TOAST value that nobody has is named");
	is_text(body_of(relation, &old, &update),
			"[\"9007199254740993\",[\"id\"],{\"id\":9007199254740993,\"n\":2},{\"id\":7},[\"big\"],\"7\"]",
			"an UPDATE of the key: of the old row only the key, and its id");
	is_text(body_of(relation, &old, &no_tuple), "[\"7\",[\"id\"],null,{\"id\":7}]", "a DELETE");
	struct row_scratch scratch = {0};
	struct buffer body = {0};
	row_pack_key(relation, &old, &update, &scratch, &body);
	is_bytes(buffer_bytes(&body),
			 "\x92\xB0"
			 "9007199254740993\x91\xA2id",
			 "of a row that is too large only the key");
	row_scratch_free(&scratch);
	buffer_free(&body);
	insert.column_count = 2;
	is_text(body_of(relation, &no_tuple, &insert), "refused", "a row with too few columns");
	is_text(body_of(relation, &no_tuple, &no_tuple), "refused", "no row at all");
}

static void test_full_identity(struct relation_cache *cache)
{
	struct pgoutput_column columns[] = {column("id", OID_INT4, true), column("big", OID_TEXT, true)};
	struct relation *relation = describe(cache, 'f', 2, columns, "id");
	struct pgoutput_datum before[] = {text("1"), text("large")}, after[] = {text("2"), unchanged_datum};
	struct pgoutput_tuple old = tuple(before, 2, false), new = tuple(after, 2, false);

	is_text(body_of(relation, &old, &new),
			"[\"2\",[\"id\"],{\"id\":2,\"big\":\"large\"},{\"id\":1,\"big\":\"large\"},[],\"1\"]",
			"an unchanged TOAST value is filled in from the old row");
	before[1] = null_datum;
	is_text(body_of(relation, &old, &new),
			"[\"2\",[\"id\"],{\"id\":2},{\"id\":1,\"big\":null},[\"big\"],\"1\"]",
			"but never with null: this old row is a partition's, which has another identity");
	relation->has_keyed_partitions = true;
	is_text(body_of(relation, &old, &new), "[\"2\",[\"id\"],{\"id\":2},{\"id\":1},[\"big\"],\"1\"]",
			"where this is known, null is not shown in the old row either");
	after[1] = null_datum;
	is_text(body_of(relation, &no_tuple, &new), "[\"2\",[\"id\"],{\"id\":2,\"big\":null}]",
			"but in the new one");
	before[1] = text("large");
	relation = describe(cache, 'f', 2, columns, "");
	is_text(body_of(relation, &old, &no_tuple), "[null,[],null,{\"id\":1,\"big\":\"large\"}]",
			"a table without a primary key has no document_id");
}

static void test_composite_key(struct relation_cache *cache)
{
	struct pgoutput_column columns[] = {column("b", OID_INT4, true), column("a", OID_TEXT, true),
										column("c", OID_TEXT, false)};
	struct pgoutput_datum values[] = {text("7"), text("x\"y"), null_datum};
	struct pgoutput_tuple row = tuple(values, 3, false);

	is_text(body_of(describe(cache, 'd', 3, columns, "a,b"), &no_tuple, &row),
			"[\"[\\\"x\\\\\\\"y\\\",7]\",[\"a\",\"b\"],{\"b\":7,\"a\":\"x\\\"y\",\"c\":null}]",
			"a composite key in the order of the catalog");
	is_text(body_of(describe(cache, 'd', 3, columns, "c,a"), &no_tuple, &row),
			"[\"[7,\\\"x\\\\\\\"y\\\"]\",[\"b\",\"a\"],{\"b\":7,\"a\":\"x\\\"y\",\"c\":null}]",
			"the stream's flags win over a catalog that is ahead");
	struct pgoutput_datum other_identity[] = {null_datum, null_datum, text("z")};
	struct pgoutput_tuple old = tuple(other_identity, 3, true);
	is_text(body_of(describe(cache, 'd', 3, columns, "a,b"), &old, &no_tuple),
			"[null,[\"a\",\"b\"],null,{\"c\":\"z\"}]", "a partition's identity that lacks the key");
}

static void test_key_in_part(struct relation_cache *cache)
{
	struct pgoutput_column columns[] = {column("a", OID_INT4, true), column("v", OID_TEXT, false)};
	struct pgoutput_datum values[] = {text("1"), text("x")};
	struct pgoutput_tuple row = tuple(values, 2, false);

	is_text(body_of(describe(cache, 'd', 2, columns, "a,b"), &no_tuple, &row),
			"[null,[],{\"a\":1,\"v\":\"x\"}]", "a key that is not sent whole is none");
	is_text(body_of(describe(cache, 'd', 2, columns, "a,v"), &no_tuple, &row),
			"[\"1\",[\"a\"],{\"a\":1,\"v\":\"x\"}]", "a key that is wider by now");
	is_text(body_of(describe(cache, 'd', 2, columns, ""), &no_tuple, &row),
			"[\"1\",[\"a\"],{\"a\":1,\"v\":\"x\"}]", "a key that is gone by now");
	columns[0].is_identity = false;
	is_text(body_of(describe(cache, 'd', 2, columns, "a"), &no_tuple, &row),
			"[\"1\",[\"a\"],{\"a\":1,\"v\":\"x\"}]",
			"a key that is deferrable identifies nothing, but is one");
}

static void test_index_identity(struct relation_cache *cache)
{
	struct pgoutput_column columns[] = {column("id", OID_INT4, false), column("code", OID_TEXT, true)};
	struct pgoutput_datum values[] = {text("1"), text("c")}, old_values[] = {null_datum, text("c")};
	struct pgoutput_tuple row = tuple(values, 2, false), old = tuple(old_values, 2, true);

	is_text(body_of(describe(cache, 'i', 2, columns, ""), &old, &no_tuple),
			"[\"c\",[\"code\"],null,{\"code\":\"c\"}]",
			"without a primary key the identity's index is the key");
	const struct relation *relation = describe(cache, 'i', 2, columns, "id");
	is_text(body_of(relation, &no_tuple, &row), "[\"1\",[\"id\"],{\"id\":1,\"code\":\"c\"}]",
			"the primary key is the key");
	is_text(body_of(relation, &old, &no_tuple), "[null,[\"id\"],null,{\"code\":\"c\"}]",
			"a DELETE that does not carry the primary key");
	struct pgoutput_datum other_values[] = {text("1"), null_datum};
	struct pgoutput_tuple other = tuple(other_values, 2, true);
	is_text(body_of(relation, &other, &no_tuple), "[\"1\",[\"id\"],null,{\"id\":1}]",
			"of a partition whose identity is another");
	is_text(body_of(describe(cache, 'n', 2, columns, "other"), &no_tuple, &row),
			"[null,[],{\"id\":1,\"code\":\"c\"}]", "a key whose columns are not sent");
}

static void test_lacks(struct relation_cache *cache)
{
	struct pgoutput_column columns[] = {column("id", OID_INT4, true), column("mood", OID_ENUM, false)};
	struct pgoutput_message message = {.type = PGOUTPUT_RELATION};

	message.relation.oid = 2;
	message.relation.column_count = 1;
	message.relation.columns = columns;
	ok(!relation_lacks_types(relation_cache_put(cache, &message)), "built-in types need no catalog");
	message.relation.column_count = 2;
	ok(relation_lacks_types(relation_cache_put(cache, &message)), "an enum needs it");
}

static void test_cache(struct relation_cache *cache)
{
	struct pgoutput_column columns[] = {column("id", OID_INT4, true)};
	struct pgoutput_message message = {.type = PGOUTPUT_RELATION};
	unsigned found = 0;

	message.relation.replica_identity = 'd';
	message.relation.column_count = 1;
	message.relation.columns = columns;
	for (uint32_t oid = 1000; oid < 3000; oid++) {
		message.relation.oid = oid;
		relation_cache_put(cache, &message);
	}
	for (uint32_t oid = 1000; oid < 3000; oid++) {
		const struct relation *relation = relation_cache_get(cache, oid);
		found += relation != NULL && relation->oid == oid;
	}
	is_u64(found, 2000, "the cache grows");
	ok(relation_cache_get(cache, 999) == NULL, "and knows what it does not know");
}

/* In UTF-8 all have one name, as names have whose bytes have no equivalent there. */
static struct relation *put(struct relation_cache *cache, uint32_t oid, const char *raw_name)
{
	struct pgoutput_message message = {.type = PGOUTPUT_RELATION};
	message.relation.oid = oid;
	message.relation.schema = BYTES("public");
	message.relation.name = BYTES("\uFFFD");
	message.relation.raw_name = bytes_of(raw_name);
	return relation_cache_put(cache, &message);
}

static unsigned count_known(const struct relation_cache *cache, uint32_t from, uint32_t to)
{
	unsigned count = 0;
	for (uint32_t oid = from; oid < to; oid++)
		count += relation_cache_get(cache, oid) != NULL;
	return count;
}

/* A transaction after another makes a table, fills and drops it, beside others that stay. */
static void test_sweep(void)
{
	struct relation_cache *cache = relation_cache_new();
	char name[16];

	for (uint32_t oid = 1; oid < 200; oid++) {
		snprintf(name, sizeof(name), "t%u", oid);
		put(cache, oid, name);
	}
	put(cache, 200, "other staging");
	for (uint32_t oid = 1000; oid < 11000; oid++) {
		relation_cache_sweep(cache);
		put(cache, 5, "t5"); /* an old table, described again */
		put(cache, oid, "staging");
	}
	is_u64(count_known(cache, 1, 201), 200, "tables that stay are known");
	unsigned others = count_known(cache, 1000, 11000);
	ok(others < 500, "10000 tables of one name, one after another: %u are", others);
	ok(relation_cache_get(cache, 10999) != NULL, "among them the last");
	ok(bytes_equal(relation_cache_get(cache, 10999)->raw_name, BYTES("staging")), "with its name");
	relation_cache_free(cache);
}

int main(void)
{
	struct relation_cache *cache = relation_cache_new();
	test_single_key(cache);
	test_full_identity(cache);
	test_composite_key(cache);
	test_key_in_part(cache);
	test_index_identity(cache);
	test_lacks(cache);
	test_cache(cache);
	test_sweep();
	relation_cache_free(cache);
	return tap_end();
}
