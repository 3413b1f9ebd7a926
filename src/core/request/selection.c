/* selection.c: see selection.h. */
#include "core/request/selection.h"

#include <stdlib.h>

#include "core/request/identifier.h"

static struct bytes fold(struct bytes name, char ret_folded[SUBSCRIPTION_NAME_SIZE_MAX])
{
	for (size_t i = 0; i < name.size; i++)
		ret_folded[i] = ascii_lower(name.data[i]);
	return (struct bytes){ret_folded, name.size};
}

/* Sets *ret_folded if it had to be looked up in lower case, and leaves it otherwise. */
static bool find(const struct ring *ring, const struct subscription_name *name,
				 struct collection *ret_collection, bool *ret_folded)
{
	char schema[SUBSCRIPTION_NAME_SIZE_MAX], table[SUBSCRIPTION_NAME_SIZE_MAX];

	if (ring_find_published(ring, name->schema, name->name, ret_collection))
		return true;
	if (!ring_find_published(ring, fold(name->schema, schema), fold(name->name, table), ret_collection))
		return false;
	*ret_folded = true;
	return true;
}

static void set_not_published(struct problem *problem, const struct subscription_name *name,
							  struct bytes publication)
{
	struct buffer table = {0}, statement = {0};

	identifier_append(&table, name->schema);
	buffer_append_char(&table, '.');
	identifier_append(&table, name->name);
	buffer_append_string(&statement, "ALTER PUBLICATION ");
	identifier_append(&statement, publication);
	buffer_append_string(&statement, " ADD TABLE ");
	buffer_append_bytes(&statement, buffer_bytes(&table));
	buffer_append_char(&statement, ';');
	if (buffer_string(&table) == NULL || buffer_string(&statement) == NULL)
		problem_set(problem, 404, "The collection is not published.");
	else
		problem_set(problem, 404, "%s is not published. Where the table exists, publish it with: %s",
					table.data, statement.data);
	buffer_free(&table);
	buffer_free(&statement);
}

static int compare_numbers(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
	return left < right ? -1 : left > right;
}

static void sort_and_unite(struct selection *selection)
{
	unsigned kept = 0;

	qsort(selection->collections, selection->count, sizeof(selection->collections[0]), compare_numbers);
	for (unsigned i = 0; i < selection->count; i++) {
		if (kept == 0 || selection->collections[kept - 1] != selection->collections[i])
			selection->collections[kept++] = selection->collections[i];
	}
	selection->count = kept;
}

bool selection_resolve(const struct subscription *subscription, const struct ring *ring,
					   struct bytes publication, struct selection *ret_selection, struct problem *ret_problem)
{
	struct selection selection = {.all = subscription->all};

	for (unsigned i = 0; i < subscription->name_count; i++) {
		struct collection collection;
		if (!find(ring, &subscription->names[i], &collection, &selection.folded)) {
			set_not_published(ret_problem, &subscription->names[i], publication);
			return false;
		}
		selection.collections[selection.count++] = collection.id;
	}
	sort_and_unite(&selection);
	*ret_selection = selection;
	return true;
}

struct filter selection_filter(const struct selection *selection, const struct subscription *subscription)
{
	return (struct filter){
		.all_collections = selection->all,
		.collection_count = selection->count,
		.collections = selection->collections,
		.operations = subscription->operations,
	};
}

/* ---- the key */

static void append_number(struct buffer *out, uint32_t number)
{
	buffer_append(out, &number, sizeof(number));
}

/* With its length in front, so that no two lists of texts look the same. */
static void append_text(struct buffer *out, struct bytes text)
{
	append_number(out, (uint32_t)text.size);
	buffer_append_bytes(out, text);
}

static int compare_texts(const void *a, const void *b)
{
	const struct bytes *left = a, *right = b;
	if (left->size != right->size)
		return left->size < right->size ? -1 : 1;
	return memcmp(left->data, right->data, left->size);
}

static void append_columns(struct buffer *out, const struct view *view)
{
	struct bytes columns[VIEW_COLUMNS_MAX];

	memcpy(columns, view->columns, view->column_count * sizeof(columns[0]));
	qsort(columns, view->column_count, sizeof(columns[0]), compare_texts);
	append_number(out, view->column_count > 0);
	for (unsigned i = 0; i < view->column_count; i++) {
		if (i == 0 || !bytes_equal(columns[i - 1], columns[i]))
			append_text(out, columns[i]);
	}
}

void selection_key(const struct selection *selection, const struct subscription *subscription,
				   struct buffer *out)
{
	append_number(out, subscription->delivery);
	append_number(out, selection->all);
	append_number(out, selection->count);
	for (unsigned i = 0; i < selection->count; i++)
		append_number(out, selection->collections[i]);
	append_number(out, subscription->operations);
	append_number(out, subscription->view.tenant_column.size > 0);
	if (subscription->view.tenant_column.size > 0) {
		append_text(out, subscription->view.tenant_column);
		append_text(out, subscription->view.tenant);
	}
	append_number(out, subscription->view.format);
	append_number(out, subscription->view.key_only);
	/* Debezium's envelope has the key's columns with payload=key, too */
	if (!subscription->view.key_only || subscription->view.format == FORMAT_DEBEZIUM)
		append_number(out, subscription->view.numbers_as_strings);
	if (!subscription->view.key_only)
		append_columns(out, &subscription->view);
}
