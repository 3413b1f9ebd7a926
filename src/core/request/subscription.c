/* subscription.c: see subscription.h. */
#include "core/request/subscription.h"

#include "core/percent.h"
#include "core/utf8.h"

/* The ways to say a start, the one that takes precedence first. */
enum start_source { START_HEADER, START_EVENT_ID, START_LSN, START_TIME, START_SOURCE_COUNT };

struct parser {
	const struct subscription_request *request;
	struct subscription *result;
	struct problem *problem;
	uint32_t seen; /* 1 << of each of `parameters` that was there */
	bool has_start[START_SOURCE_COUNT];
	struct start starts[START_SOURCE_COUNT];
};

/* How much of a client's text goes into a problem's detail. */
enum { QUOTED_SIZE_MAX = 80 };

/* Always false, for a parse function to return. */
static bool refuse(struct parser *parser, const char *what, struct bytes value, const char *expected)
{
	size_t size = value.size;
	if (size > QUOTED_SIZE_MAX)
		size = utf8_whole((struct bytes){value.data, QUOTED_SIZE_MAX});
	problem_set(parser->problem, 400, "%s is '%.*s', but it must be %s.", what, (int)size,
				size == 0 ? "" : value.data, expected);
	return false;
}

/* ---- decoding */

/* Decodes into the subscription's text, which has room for all that the request holds and so never moves. */
static bool decode(struct parser *parser, struct bytes raw, bool plus_is_space, struct bytes *ret_text)
{
	struct buffer *out = &parser->result->text;
	size_t from = out->size;
	bool sound = percent_decode(out, raw, plus_is_space);
	struct bytes text = {out->data + from, out->size - from};

	if (!sound || !utf8_valid(text) || (text.size > 0 && memchr(text.data, '\0', text.size) != NULL)) {
		problem_set(parser->problem, 400,
					"The URL is not percent-encoded UTF-8: a %% must be followed by two "
					"hexadecimal digits, and %%00 is not allowed.");
		return false;
	}
	*ret_text = text;
	return true;
}

/* ---- the path */

static bool parse_name(struct parser *parser, struct bytes raw)
{
	struct subscription *result = parser->result;
	struct subscription_name name = {.schema = BYTES("public")};
	struct bytes first;
	bool has_schema = bytes_take_until(&raw, '.', &first);

	if (has_schema &&
		(!decode(parser, first, false, &name.schema) || !decode(parser, raw, false, &name.name)))
		return false;
	if (!has_schema && !decode(parser, first, false, &name.name))
		return false;
	if (!has_schema && bytes_equal(name.name, BYTES("*"))) {
		result->all = true;
		return true;
	}
	if (name.schema.size == 0 || name.name.size == 0)
		return refuse(parser, "The collection", first,
					  "table, schema.table, several of them separated by commas, or * for all");
	if (name.schema.size > SUBSCRIPTION_NAME_SIZE_MAX || name.name.size > SUBSCRIPTION_NAME_SIZE_MAX)
		return refuse(parser, "The collection", first, "a name of at most 63 characters");
	if (result->name_count == SUBSCRIPTION_NAMES_MAX) {
		problem_set(parser->problem, 400, "At most %d collections can be named in one request; * means all.",
					SUBSCRIPTION_NAMES_MAX);
		return false;
	}
	result->names[result->name_count++] = name;
	return true;
}

static bool parse_path(struct parser *parser)
{
	struct bytes rest = parser->request->path, name;
	bool more;

	do {
		more = bytes_take_until(&rest, ',', &name);
		if (!parse_name(parser, name))
			return false;
	} while (more);
	if (parser->result->all)
		parser->result->name_count = 0;
	return true;
}

/* ---- parameters: each function takes a decoded value */

static bool parse_cursor(struct parser *parser, enum start_source source, const char *name,
						 struct bytes value)
{
	if (!cursor_parse(value, &parser->starts[source]))
		return refuse(parser, name, value,
					  "the id of an event (23987096-1), an LSN (23987096 or 0/16E0398), 'earliest' or 'now'");
	parser->has_start[source] = true;
	return true;
}

static bool parse_last_event_id(struct parser *parser, struct bytes value)
{
	return value.size == 0 || parse_cursor(parser, START_EVENT_ID, "last_event_id", value);
}

static bool parse_since_lsn(struct parser *parser, struct bytes value)
{
	return parse_cursor(parser, START_LSN, "since_lsn", value);
}

static bool parse_since_ms(struct parser *parser, struct bytes value)
{
	uint64_t ms;
	if (!bytes_parse_u64(value, &ms) || ms > INT64_MAX / 1000)
		return refuse(parser, "since_ms", value, "a number of milliseconds since 1970");
	parser->has_start[START_TIME] = true;
	parser->starts[START_TIME] = ms == 0
									 ? (struct start){.kind = CURSOR_EARLIEST}
									 : (struct start){.kind = CURSOR_TIME, .since_us = (int64_t)ms * 1000};
	return true;
}

static bool parse_operation(struct bytes name, unsigned *operations)
{
	char lower[16];
	enum operation operation;

	if (name.size > sizeof(lower))
		return false;
	for (size_t i = 0; i < name.size; i++)
		lower[i] = ascii_lower(name.data[i]);
	if (!operation_parse((struct bytes){lower, name.size}, &operation))
		return false;
	*operations |= 1u << operation;
	return true;
}

static bool parse_operations(struct parser *parser, struct bytes value)
{
	struct bytes rest = value, name;
	unsigned operations = 0;
	bool more;

	do {
		more = bytes_take_until(&rest, ',', &name);
		if (!parse_operation(name, &operations))
			return refuse(parser, "operations", value,
						  parser->request->messages ? "some of insert,update,delete,truncate,message"
													: "some of insert,update,delete,truncate");
	} while (more);
	if ((operations & OPERATIONS_MESSAGE) != 0 && !parser->request->messages) {
		problem_set(parser->problem, 400,
					"Messages are not served here: h2o.conf turns them on with messages: ON.");
		return false;
	}
	parser->result->operations = operations;
	return true;
}

static bool parse_columns(struct parser *parser, struct bytes value)
{
	struct view *view = &parser->result->view;
	struct bytes rest = value, name;
	bool more;

	view->column_count = 0;
	do {
		more = bytes_take_until(&rest, ',', &name);
		if (name.size == 0 || view->column_count == VIEW_COLUMNS_MAX)
			return refuse(parser, "columns", value, "1 to 64 names separated by commas");
		view->columns[view->column_count++] = name;
	} while (more);
	return true;
}

/* For a parameter with two values. Returns false if `value` is neither. */
static bool is_either(struct bytes value, const char *no, const char *yes, bool *ret_is_yes)
{
	bool is_yes = bytes_equal(value, bytes_of(yes));
	if (!is_yes && !bytes_equal(value, bytes_of(no)))
		return false;
	*ret_is_yes = is_yes;
	return true;
}

static bool parse_payload(struct parser *parser, struct bytes value)
{
	return is_either(value, "full", "key", &parser->result->view.key_only) ||
		   refuse(parser, "payload", value, "full or key");
}

static bool parse_numbers(struct parser *parser, struct bytes value)
{
	return is_either(value, "number", "string", &parser->result->view.numbers_as_strings) ||
		   refuse(parser, "numbers", value, "number or string");
}

static bool parse_format(struct parser *parser, struct bytes value)
{
	static const char *const names[] = {
		[FORMAT_JSON] = "json", [FORMAT_DEBEZIUM] = "debezium", [FORMAT_CLOUDEVENTS] = "cloudevents"};

	for (unsigned format = 0; format < COUNT(names); format++) {
		if (bytes_equal(value, bytes_of(names[format]))) {
			parser->result->view.format = (enum format)format;
			return true;
		}
	}
	return refuse(parser, "format", value, "json, debezium or cloudevents");
}

static bool parse_on_gap(struct parser *parser, struct bytes value)
{
	bool fail;
	if (!is_either(value, "warn", "fail", &fail))
		return refuse(parser, "on_gap", value, "warn or fail");
	parser->result->on_gap = fail ? ON_GAP_FAIL : ON_GAP_WARN;
	return true;
}

static bool parse_tenant_id(struct parser *parser, struct bytes value)
{
	/* were it ignored, a client that asked for one tenant's changes would get everybody's */
	if (parser->request->tenant_column.size == 0 && !bytes_equal(value, BYTES("1"))) {
		problem_set(parser->problem, 400,
					"There are no tenants here, only tenant 1: h2o.conf sets them up with tenant-column.");
		return false;
	}
	if (value.size == 0 || value.size > SUBSCRIPTION_TENANT_SIZE_MAX)
		return refuse(parser, "tenant_id", value, "1 to 256 bytes long");
	parser->result->view.tenant = value;
	return true;
}

/* A number of any length; what is more than `most` is `most`. Returns false if it is none. */
static bool parse_clamped(struct bytes value, unsigned most, unsigned *ret_number)
{
	uint64_t number = 0;

	for (size_t i = 0; i < value.size; i++) {
		unsigned digit = (unsigned char)value.data[i] - '0';
		if (digit > 9)
			return false;
		number = number * 10 + digit;
		if (number > most)
			number = most;
	}
	*ret_number = (unsigned)number;
	return value.size > 0;
}

static bool parse_limit(struct parser *parser, struct bytes value)
{
	unsigned *limit = &parser->result->limit;
	return (parse_clamped(value, SUBSCRIPTION_LIMIT_MAX, limit) && *limit > 0) ||
		   refuse(parser, "limit", value, "a number from 1 to 10000");
}

static bool parse_wait(struct parser *parser, struct bytes value)
{
	return parse_clamped(value, SUBSCRIPTION_WAIT_MAX, &parser->result->wait_s) ||
		   refuse(parser, "wait", value, "a number of seconds from 0 to 60");
}

static const struct parameter {
	const char *name;
	bool (*parse)(struct parser *parser, struct bytes value);
	bool poll_only;
	bool may_repeat;
} parameters[] = {
	{"last_event_id", parse_last_event_id, false, true},
	{"lastEventId", parse_last_event_id, false, true},
	{"since_lsn", parse_since_lsn, false, false},
	{"since_ms", parse_since_ms, false, false},
	{"operations", parse_operations, false, false},
	{"columns", parse_columns, false, false},
	{"payload", parse_payload, false, false},
	{"numbers", parse_numbers, false, false},
	{"format", parse_format, false, false},
	{"on_gap", parse_on_gap, false, false},
	{"tenant_id", parse_tenant_id, false, false},
	{"limit", parse_limit, true, false},
	{"wait", parse_wait, true, false},
};

static const struct parameter *find_parameter(struct bytes name, enum delivery delivery)
{
	for (size_t i = 0; i < COUNT(parameters); i++) {
		if (bytes_equal(name, bytes_of(parameters[i].name)))
			return parameters[i].poll_only && delivery != DELIVERY_POLL ? NULL : &parameters[i];
	}
	return NULL;
}

static bool take_parameter(struct parser *parser, const struct parameter *parameter, struct bytes value)
{
	uint32_t bit = UINT32_C(1) << (parameter - parameters);

	if ((parser->seen & bit) != 0 && !parameter->may_repeat) {
		problem_set(parser->problem, 400, "%s is there twice.", parameter->name);
		return false;
	}
	parser->seen |= bit;
	return parameter->parse(parser, value);
}

static bool parse_query(struct parser *parser)
{
	struct bytes rest = parser->request->query, raw_name, raw_value, name, value;
	bool more;

	do {
		more = bytes_take_until(&rest, '&', &raw_value);
		bytes_take_until(&raw_value, '=', &raw_name);
		if (!decode(parser, raw_name, true, &name) || !decode(parser, raw_value, true, &value))
			return false;
		const struct parameter *parameter = find_parameter(name, parser->request->delivery);
		if (parameter != NULL && !take_parameter(parser, parameter, value))
			return false;
	} while (more);
	return true;
}

/* ---- the whole */

static bool parse_header(struct parser *parser)
{
	struct bytes value = parser->request->last_event_id;
	return value.size == 0 || parse_cursor(parser, START_HEADER, "The header Last-Event-ID", value);
}

static void choose_start(struct parser *parser)
{
	struct start *start = &parser->result->start;

	start->kind = parser->request->delivery == DELIVERY_POLL ? CURSOR_EARLIEST : CURSOR_NOW;
	for (int source = 0; source < START_SOURCE_COUNT; source++) {
		if (parser->has_start[source]) {
			*start = parser->starts[source];
			return;
		}
	}
}

bool subscription_parse(const struct subscription_request *request, struct subscription *ret_subscription,
						struct problem *ret_problem)
{
	bool is_poll = request->delivery == DELIVERY_POLL;
	struct subscription result = {
		.delivery = request->delivery,
		.operations = request->messages ? OPERATIONS_ALL : OPERATIONS_ROWS,
		.on_gap = is_poll ? ON_GAP_FAIL : ON_GAP_WARN,
		.view = {.tenant_column = request->tenant_column, .tenant = BYTES("1")},
		.limit = SUBSCRIPTION_LIMIT_DEFAULT,
	};
	struct parser parser = {.request = request, .result = &result, .problem = ret_problem};

	if (buffer_reserve(&result.text, request->path.size + request->query.size) == NULL) {
		problem_set(ret_problem, 503, "The server is out of memory; try again later.");
		return false;
	}
	if (!parse_path(&parser) || !parse_query(&parser) || !parse_header(&parser)) {
		subscription_free(&result);
		return false;
	}
	choose_start(&parser);
	*ret_subscription = result;
	return true;
}

void subscription_free(struct subscription *subscription)
{
	buffer_free(&subscription->text);
	*subscription = (struct subscription){0};
}
