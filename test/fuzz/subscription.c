/*
 * subscription.c: libFuzzer on path, query and Last-Event-ID header, separated by NUL in the input; its first
 * byte chooses SSE or poll. Whatever comes, the request is either refused with a problem that is a whole
 * document, or the subscription keeps its bounds.
 */
#include <jansson.h>
#include <stdlib.h>

#include "core/request/subscription.h"
#include "core/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

static struct bytes take_field(struct bytes *rest)
{
	const char *end = rest->size == 0 ? NULL : memchr(rest->data, '\0', rest->size);
	size_t size = end == NULL ? rest->size : (size_t)(end - rest->data);
	struct bytes field = {rest->data, size};
	size += end != NULL;
	*rest = (struct bytes){rest->data + size, rest->size - size};
	return field;
}

static void check_problem(const struct problem *problem)
{
	struct buffer out = {0};
	json_error_t error;

	require(problem->status == 400);
	problem_append_json(&out, problem);
	json_t *document = json_loadb(out.data, out.size, JSON_REJECT_DUPLICATES, &error);
	require(document != NULL);
	json_decref(document);
	buffer_free(&out);
}

/* Reading a text to its end is what lets the sanitizer see a pointer that is none. */
static void check_text(struct bytes text, size_t max)
{
	require(text.size >= 1 && text.size <= max && utf8_valid(text));
}

/* What users are told is a cursor that they may give back. */
static void check_cursor(struct cursor cursor)
{
	struct buffer out = {0};
	struct start start;

	cursor_append(&out, cursor);
	require(cursor_parse(buffer_bytes(&out), &start) && cursor_compare(start.at, cursor) == 0);
	buffer_free(&out);
}

static void check_subscription(const struct subscription *subscription)
{
	require(subscription->all ? subscription->name_count == 0 : subscription->name_count >= 1);
	require(subscription->name_count <= SUBSCRIPTION_NAMES_MAX);
	for (unsigned i = 0; i < subscription->name_count; i++) {
		check_text(subscription->names[i].schema, SUBSCRIPTION_NAME_SIZE_MAX);
		check_text(subscription->names[i].name, SUBSCRIPTION_NAME_SIZE_MAX);
	}
	require(subscription->view.column_count <= VIEW_COLUMNS_MAX);
	for (unsigned i = 0; i < subscription->view.column_count; i++)
		check_text(subscription->view.columns[i], SIZE_MAX);
	check_text(subscription->view.tenant, SUBSCRIPTION_TENANT_SIZE_MAX);
	require(subscription->operations != 0 && (subscription->operations & ~(unsigned)OPERATIONS_ALL) == 0);
	require(subscription->limit >= 1 && subscription->limit <= SUBSCRIPTION_LIMIT_MAX);
	require(subscription->wait_s <= SUBSCRIPTION_WAIT_MAX);
	require(subscription->start.kind != CURSOR_TIME || subscription->start.since_us > 0);
	if (subscription->start.kind == CURSOR_EVENT || subscription->start.kind == CURSOR_LSN)
		check_cursor(subscription->start.at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	struct bytes rest = {(const char *)data + 1, size - 1};
	struct subscription_request request = {.delivery = data[0] % 2 == 0 ? DELIVERY_SSE : DELIVERY_POLL,
										   .messages = data[0] % 4 >= 2};
	struct subscription subscription;
	struct problem problem;

	request.path = take_field(&rest);
	request.query = take_field(&rest);
	request.last_event_id = take_field(&rest);
	if (subscription_parse(&request, &subscription, &problem)) {
		check_subscription(&subscription);
		subscription_free(&subscription);
	} else {
		check_problem(&problem);
	}
	return 0;
}
