/*
 * row.c: see row.h. The packer writes straight into the body, so bytes that were packed before, as the names
 * of columns, are appended between its calls.
 */
#include "feed/row.h"

#include "core/change.h"
#include "core/msgpack_text.h"
#include "core/render/json.h"
#include "core/utf8.h"

struct row {
	const struct relation *relation;
	const struct pgoutput_tuple *old_row;
	const struct pgoutput_tuple *new_row;
	struct buffer *body;
	msgpack_packer packer;
};

/* A column's value in a tuple, or NULL where the tuple does not have it. SQL's null is a value. */
static const struct pgoutput_datum *tuple_value(const struct pgoutput_tuple *tuple, unsigned column)
{
	if (!tuple->present || tuple->columns[column].kind == PGOUTPUT_UNCHANGED)
		return NULL;
	return &tuple->columns[column];
}

/*
 * The same in the old row. Where only a key is in it, null stands for what was left out: a key has no nulls.
 * (Which columns these are the Relation message need not say: the identity of a partition can be another one
 * than that of its root.)
 */
static const struct pgoutput_datum *old_value(const struct row *row, unsigned column)
{
	const struct pgoutput_datum *datum = tuple_value(row->old_row, column);
	bool may_be_key = row->old_row->key_only || row->relation->has_keyed_partitions;
	return may_be_key && datum != NULL && datum->kind == PGOUTPUT_NULL ? NULL : datum;
}

/* A column's value after the change; before it, if that is the same or all there is. */
static const struct pgoutput_datum *current_value(const struct row *row, unsigned column)
{
	const struct pgoutput_datum *datum = tuple_value(row->new_row, column);
	if (datum != NULL)
		return datum;
	datum = old_value(row, column);
	/* what is TOASTed is not null: this old row was only a key, whatever the catalog says by now */
	bool is_wrong = row->new_row->present && datum != NULL && datum->kind == PGOUTPUT_NULL;
	return is_wrong ? NULL : datum;
}

static void pack_datum(msgpack_packer *packer, const struct type *type, const struct pgoutput_datum *datum)
{
	if (datum->kind == PGOUTPUT_NULL)
		msgpack_pack_nil(packer);
	else
		value_pack(packer, type, datum->text);
}

/* ---- document_id */

static bool is_text(const struct pgoutput_datum *datum)
{
	return datum != NULL && datum->kind == PGOUTPUT_TEXT;
}

static void append_json(struct buffer *json, struct buffer *packed, const struct type *type,
						const struct pgoutput_datum *datum)
{
	msgpack_packer packer;
	msgpack_unpacked unpacked;

	buffer_clear(packed);
	msgpack_packer_init(&packer, packed, buffer_msgpack_write);
	pack_datum(&packer, type, datum);
	msgpack_unpacked_init(&unpacked);
	if (msgpack_unpack_next(&unpacked, packed->data, packed->size, NULL) == MSGPACK_UNPACK_SUCCESS)
		json_append_value(json, &unpacked.data, (struct json_options){0});
	else
		json->failed = true;
	msgpack_unpacked_destroy(&unpacked);
}

/* Which row's key: current_value() or old_value(). */
typedef const struct pgoutput_datum *value_of(const struct row *row, unsigned column);

/* The values of a composite key as to_jsonb gives them, in an array, as text. */
static void pack_composite_id(struct row *row, value_of *value_of_row, struct row_scratch *scratch)
{
	const struct relation *relation = row->relation;

	buffer_clear(&scratch->json);
	for (unsigned k = 0; k < relation->key_count; k++) {
		unsigned column = relation->key[k];
		buffer_append_char(&scratch->json, k == 0 ? '[' : ',');
		append_json(&scratch->json, &scratch->packed, relation->columns[column].type,
					value_of_row(row, column));
	}
	buffer_append_char(&scratch->json, ']');
	row->body->failed = row->body->failed || scratch->json.failed;
	pack_str(&row->packer, buffer_bytes(&scratch->json));
}

static void pack_document_id(struct row *row, value_of *value_of_row, struct row_scratch *scratch)
{
	const struct relation *relation = row->relation;
	const struct pgoutput_datum *datum = NULL;

	for (unsigned k = 0; k < relation->key_count; k++) {
		datum = value_of_row(row, relation->key[k]);
		if (!is_text(datum))
			break;
	}
	if (!is_text(datum))
		msgpack_pack_nil(&row->packer);
	else if (relation->key_count == 1)
		pack_str(&row->packer, datum->text);
	else
		pack_composite_id(row, value_of_row, scratch);
}

/* Whether an UPDATE gave the row another key, as far as the old one is known. */
static bool key_changed(const struct row *row)
{
	bool changed = false;

	for (unsigned k = 0; k < row->relation->key_count; k++) {
		const struct pgoutput_datum *before = old_value(row, row->relation->key[k]);
		const struct pgoutput_datum *after = current_value(row, row->relation->key[k]);
		if (!is_text(before) || !is_text(after))
			return false;
		changed = changed || !bytes_equal(before->text, after->text);
	}
	return changed;
}

/* ---- new, old, unchanged */

static void pack_column(struct row *row, unsigned column, const struct pgoutput_datum *datum)
{
	buffer_append_bytes(row->body, row->relation->columns[column].packed_name);
	pack_datum(&row->packer, row->relation->columns[column].type, datum);
}

static unsigned count_missing(const struct row *row)
{
	unsigned missing = 0;
	for (unsigned i = 0; row->new_row->present && i < row->relation->column_count; i++)
		missing += current_value(row, i) == NULL;
	return missing;
}

static void pack_new(struct row *row, unsigned missing)
{
	msgpack_pack_map(&row->packer, row->relation->column_count - missing);
	for (unsigned i = 0; i < row->relation->column_count; i++) {
		const struct pgoutput_datum *datum = current_value(row, i);
		if (datum != NULL)
			pack_column(row, i, datum);
	}
}

static void pack_old(struct row *row)
{
	unsigned count = row->relation->column_count, present = 0;

	for (unsigned i = 0; i < count; i++)
		present += old_value(row, i) != NULL;
	msgpack_pack_map(&row->packer, present);
	for (unsigned i = 0; i < count; i++) {
		const struct pgoutput_datum *datum = old_value(row, i);
		if (datum != NULL)
			pack_column(row, i, datum);
	}
}

static void pack_unchanged(struct row *row, unsigned missing)
{
	msgpack_pack_array(&row->packer, missing);
	for (unsigned i = 0; i < row->relation->column_count; i++) {
		if (current_value(row, i) == NULL)
			buffer_append_bytes(row->body, row->relation->columns[i].packed_name);
	}
}

static bool tuple_fits(const struct relation *relation, const struct pgoutput_tuple *tuple)
{
	return !tuple->present || tuple->column_count == relation->column_count;
}

/* Elements at the end that are nil or empty are left out, see change.h. */
static unsigned body_size(const struct row *row, unsigned missing, bool has_old_id)
{
	if (has_old_id)
		return BODY_OLD_ID + 1;
	if (missing > 0)
		return BODY_UNCHANGED + 1;
	return row->old_row->present ? BODY_OLD + 1 : BODY_NEW + 1;
}

bool row_pack(const struct relation *relation, const struct pgoutput_tuple *old_row,
			  const struct pgoutput_tuple *new_row, struct row_scratch *scratch, struct buffer *body)
{
	struct row row = {.relation = relation, .old_row = old_row, .new_row = new_row, .body = body};

	if (!tuple_fits(relation, old_row) || !tuple_fits(relation, new_row) ||
		!(old_row->present || new_row->present))
		return false;
	unsigned missing = count_missing(&row);
	bool has_old_id = key_changed(&row);
	unsigned size = body_size(&row, missing, has_old_id);

	buffer_clear(body);
	msgpack_packer_init(&row.packer, body, buffer_msgpack_write);
	msgpack_pack_array(&row.packer, size);
	pack_document_id(&row, current_value, scratch);
	buffer_append_bytes(body, relation->packed_key);
	if (new_row->present)
		pack_new(&row, missing);
	else
		msgpack_pack_nil(&row.packer);
	if (old_row->present)
		pack_old(&row);
	else if (size > BODY_OLD)
		msgpack_pack_nil(&row.packer);
	if (size > BODY_UNCHANGED)
		pack_unchanged(&row, missing);
	if (has_old_id)
		pack_document_id(&row, old_value, scratch);
	return true;
}

void row_pack_key(const struct relation *relation, const struct pgoutput_tuple *old_row,
				  const struct pgoutput_tuple *new_row, struct row_scratch *scratch, struct buffer *body)
{
	struct row row = {.relation = relation, .old_row = old_row, .new_row = new_row, .body = body};

	buffer_clear(body);
	msgpack_packer_init(&row.packer, body, buffer_msgpack_write);
	msgpack_pack_array(&row.packer, BODY_KEY + 1);
	pack_document_id(&row, current_value, scratch);
	buffer_append_bytes(body, relation->packed_key);
}

void row_pack_none(struct buffer *body)
{
	msgpack_packer packer;
	buffer_clear(body);
	msgpack_packer_init(&packer, body, buffer_msgpack_write);
	msgpack_pack_array(&packer, 0);
}

void row_pack_message(struct bytes prefix, struct bytes content, struct buffer *body)
{
	msgpack_packer packer;
	buffer_clear(body);
	msgpack_packer_init(&packer, body, buffer_msgpack_write);
	msgpack_pack_array(&packer, MESSAGE_SIZE);
	pack_str(&packer, prefix);
	if (utf8_valid(content))
		pack_str(&packer, content);
	else
		msgpack_pack_bin_with_body(&packer, content.data, content.size);
}

void row_scratch_free(struct row_scratch *scratch)
{
	buffer_free(&scratch->packed);
	buffer_free(&scratch->json);
}
