/* subscription.c: paths, queries and headers, well-formed and not. */
#include "core/request/subscription.h"

#include "tap.h"

static struct subscription subscription;
static struct problem problem;

static bool parse(enum delivery delivery, const char *path, const char *query, const char *header)
{
	struct subscription_request request = {.delivery = delivery,
										   .path = bytes_of(path),
										   .query = bytes_of(query),
										   .last_event_id = bytes_of(header),
										   .tenant_column = BYTES("org")};
	subscription_free(&subscription);
	memset(&problem, 0, sizeof(problem));
	return subscription_parse(&request, &subscription, &problem);
}

static bool parse_without_tenants(const char *query)
{
	struct subscription_request request = {.path = BYTES("users"), .query = bytes_of(query)};

	subscription_free(&subscription);
	return subscription_parse(&request, &subscription, &problem);
}

static bool sse(const char *query)
{
	return parse(DELIVERY_SSE, "users", query, "");
}

static bool poll(const char *query)
{
	return parse(DELIVERY_POLL, "users", query, "");
}

/* The names as "schema|name schema|name". */
static void is_names(const char *path, const char *wanted)
{
	struct buffer names = {0};
	if (ok(parse(DELIVERY_SSE, path, "", ""), "the path %s", path)) {
		for (unsigned i = 0; i < subscription.name_count; i++) {
			if (i > 0)
				buffer_append_char(&names, ' ');
			buffer_append_bytes(&names, subscription.names[i].schema);
			buffer_append_char(&names, '|');
			buffer_append_bytes(&names, subscription.names[i].name);
		}
	}
	is_bytes(buffer_bytes(&names), wanted, "names %s", wanted);
	buffer_free(&names);
}

static void test_paths(void)
{
	char many[65 * 2 + 1] = "", large[255];

	is_names("users", "public|users");
	is_names("app.users", "app|users");
	is_names("users,app.Orders", "public|users app|Orders");
	is_names("a.b.c", "a|b.c");
	is_names("a%2Eb%2Cc", "public|a.b,c");
	is_names("my%20table+x", "public|my table+x");
	is_names("caf%C3%A9", "public|caf\xC3\xA9");
	is_names("public.*", "public|*");
	is_names("*", "");
	ok(subscription.all, "* is all");
	is_names("users,%2A", "");
	ok(subscription.all, "also encoded, and beside others");

	static const char *const malformed[] = {"",     "users,", ",users", ".users", "app.",  "us%ers",
											"us%2", "us%",    "us%zz",  "a%00b",  "a%FFb", "%C0%AF"};
	for (size_t i = 0; i < COUNT(malformed); i++) {
		ok(!parse(DELIVERY_SSE, malformed[i], "", ""), "the path '%s' is refused", malformed[i]);
		is_u64((uint64_t)problem.status, 400, "with 400");
	}
	for (int i = 0; i < 64; i++)
		strcat(many, i == 0 ? "t" : ",t");
	ok(parse(DELIVERY_SSE, many, "", "") && subscription.name_count == 64, "64 names");
	ok(!parse(DELIVERY_SSE, strcat(many, ",t"), "", "") && problem.status == 400, "65 names are too many");
	memset(large, 'x', sizeof(large));
	large[253] = '\0';
	ok(!parse(DELIVERY_SSE, large, "", ""), "a name of 253 bytes is too long");
	ok(parse(DELIVERY_SSE, large + 1, "", ""), "one of 252 is not");
}

static void test_defaults(void)
{
	ok(sse("") && subscription.start.kind == CURSOR_NOW, "SSE starts now");
	ok(subscription.on_gap == ON_GAP_WARN, "SSE warns of a gap");
	is_u64(subscription.operations, OPERATIONS_ROWS, "all operations on rows");
	is_bytes(subscription.view.tenant, "1", "tenant 1");
	ok(!subscription.view.key_only && !subscription.view.numbers_as_strings &&
		   subscription.view.column_count == 0,
	   "everything is shown");
	ok(poll("") && subscription.start.kind == CURSOR_EARLIEST, "poll starts with the oldest");
	ok(subscription.on_gap == ON_GAP_FAIL, "poll fails at a gap");
	ok(subscription.limit == 100 && subscription.wait_s == 0, "poll's limit and wait");
}

static void test_starts(void)
{
	const char *all = "since_ms=5&since_lsn=0/10&last_event_id=7-1";

	ok(parse(DELIVERY_SSE, "users", all, "9-2") && subscription.start.kind == CURSOR_EVENT &&
		   subscription.start.at.lsn == 9,
	   "the header comes first");
	ok(sse(all) && subscription.start.kind == CURSOR_EVENT && subscription.start.at.lsn == 7,
	   "then last_event_id; an empty header counts as absent");
	ok(sse("since_lsn=0%2F10&since_ms=5&lastEventId=") && subscription.start.kind == CURSOR_LSN &&
		   subscription.start.at.lsn == 16,
	   "then since_lsn; an empty lastEventId counts as absent");
	ok(sse("last_event_id=7-1&lastEventId=") && subscription.start.at.lsn == 7,
	   "also beside the other spelling");
	ok(sse("since_ms=1234567890123") && subscription.start.kind == CURSOR_TIME &&
		   subscription.start.since_us == 1234567890123000,
	   "then since_ms, in microseconds");
	ok(sse("since_ms=0") && subscription.start.kind == CURSOR_EARLIEST, "since_ms=0 is all");
	ok(sse("last_event_id=7-1&lastEventId=8-1") && subscription.start.at.lsn == 8,
	   "the last of the two spellings counts");
	ok(sse("last_event_id=7-1&last_event_id=9-1") && subscription.start.at.lsn == 9,
	   "and of one, which polyfills append");
	ok(sse("since_lsn=now") && subscription.start.kind == CURSOR_NOW, "since_lsn=now");
	ok(poll("since_lsn=42-1&since_ms=5") && subscription.start.at.lsn == 42, "since_lsn overrides since_ms");
	ok(poll("since_ms=9223372036854775") && subscription.start.since_us == INT64_C(9223372036854775000),
	   "the latest time");
	ok(!parse(DELIVERY_SSE, "users", "", "nonsense") && problem.status == 400, "a malformed header");
	ok(!parse(DELIVERY_SSE, "users", "since_lsn=x", "9-2") && problem.status == 400,
	   "a malformed value, though the header comes first");
}

static void test_views(void)
{
	ok(sse("operations=insert,DELETE") &&
		   subscription.operations == (1u << OPERATION_INSERT | 1u << OPERATION_DELETE),
	   "operations in either case");
	ok(sse("columns=a,b%2Cc+d") && subscription.view.column_count == 3,
	   "columns, with encoded commas as well");
	is_bytes(subscription.view.columns[2], "c d", "a plus is a space");
	ok(sse("payload=key&numbers=string&format=json&on_gap=fail") && subscription.view.key_only &&
		   subscription.view.numbers_as_strings && subscription.on_gap == ON_GAP_FAIL,
	   "payload, numbers, format, on_gap");
	ok(sse("tenant_id=a%26b") && bytes_equal(subscription.view.tenant, BYTES("a&b")), "tenant_id");
	ok(parse_without_tenants("tenant_id=1"), "without a tenant column there is tenant 1");
	ok(!parse_without_tenants("tenant_id=7") && problem.status == 400, "and no other");
	ok(sse("since%5Flsn=5") && subscription.start.kind == CURSOR_LSN, "an encoded parameter name");
	ok(sse("&&_=123&unknown&x=%41") && subscription.start.kind == CURSOR_NOW,
	   "unknown parameters are ignored");
	ok(sse("limit=x&wait=-1"), "limit and wait are unknown to SSE");
}

static void test_poll(void)
{
	ok(poll("limit=10001&wait=61") && subscription.limit == 10000 && subscription.wait_s == 60, "clamped");
	ok(poll("limit=1&wait=0") && subscription.limit == 1 && subscription.wait_s == 0, "the least");
	ok(poll("limit=18446744073709551615") && subscription.limit == 10000, "a huge limit");
	ok(poll("limit=99999999999999999999&wait=18446744073709551616") && subscription.limit == 10000 &&
		   subscription.wait_s == 60,
	   "more than 64 bits hold");
	ok(poll("limit=000000000000000000000000000007") && subscription.limit == 7,
	   "many digits, and a small number");
}

static void test_malformed(void)
{
	static const char *const malformed[] = {"since_lsn=",
											"since_lsn=5-",
											"since_lsn=-5",
											"since_ms=",
											"since_ms=-1",
											"since_ms=9223372036854776",
											"since_ms=1.5",
											"operations=",
											"operations=insert,",
											"operations=upsert",
											"columns=",
											"columns=a,,b",
											"payload=all",
											"numbers=",
											"format=xml",
											"on_gap=ignore",
											"tenant_id=",
											"limit=0",
											"limit=-1",
											"limit=",
											"limit=00",
											"limit=99999999999999999999x",
											"wait=-1",
											"wait=0.5",
											"wait=",
											"payload=key&payload=key",
											"tenant_id=7&x&tenant%5Fid=8",
											"x=%",
											"%zz=1",
											"x=%00",
											"x=%FF"};
	char large[400] = "tenant_id=", columns[200] = "columns=a";

	for (size_t i = 0; i < COUNT(malformed); i++) {
		ok(!poll(malformed[i]), "'%s' is refused", malformed[i]);
		is_u64((uint64_t)problem.status, 400, "with 400");
	}
	memset(large + 10, 'x', 257);
	ok(!sse(large), "a tenant of 257 bytes");
	large[10 + 256] = '\0';
	ok(sse(large), "of 256");
	for (int i = 1; i < 64; i++)
		strcat(columns, ",a");
	ok(sse(columns) && subscription.view.column_count == 64, "64 columns");
	ok(!sse(strcat(columns, ",a")), "65 columns");
}

static void test_problems(void)
{
	struct buffer out = {0};
	struct problem long_one;
	char text[PROBLEM_DETAIL_SIZE + 8];

	ok(!sse("on_gap=no%22"), "a problem");
	problem_append_json(&out, &problem);
	is_bytes(buffer_bytes(&out),
			 "{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,"
			 "\"detail\":\"on_gap is 'no\\\"', but it must be warn or fail.\"}",
			 "as a document");
	buffer_clear(&out);
	problem_set_lagged(&problem, (struct cursor){42, 1, 0}, 3);
	problem_append_json(&out, &problem);
	is_bytes(buffer_bytes(&out),
			 "{\"type\":\"about:blank\",\"title\":\"Gone\",\"status\":410,"
			 "\"detail\":\"3 changes that this cursor still needed are no longer retained: read the table "
			 "again and "
			 "go on from an LSN that was read before it, or go on without them, from `oldest` or with "
			 "on_gap=warn\","
			 "\"oldest\":\"42-1\"}",
			 "410 with the oldest cursor");
	for (size_t i = 0; i + 2 < sizeof(text); i += 2)
		memcpy(text + i, "\xC3\xA9", 3);
	problem_set(&long_one, 400, "%s", text);
	is_u64(strlen(long_one.detail), PROBLEM_DETAIL_SIZE - 2, "a long detail is cut between characters");
	buffer_free(&out);
}

static void test_tenant_column(void)
{
	struct subscription_request request = {.path = BYTES("a"), .tenant_column = BYTES("org")};
	subscription_free(&subscription);
	ok(subscription_parse(&request, &subscription, &problem), "a path with a tenant column");
	is_bytes(subscription.view.tenant_column, "org", "is kept");
}

static void test_messages(void)
{
	struct subscription_request request = {.path = BYTES("a"), .query = BYTES("operations=message")};
	ok(!subscription_parse(&request, &subscription, &problem) && problem.status == 400 &&
		   strstr(problem.detail, "messages: ON") != NULL,
	   "messages that are not turned on");
	request.messages = true;
	subscription_free(&subscription);
	ok(subscription_parse(&request, &subscription, &problem) && subscription.operations == OPERATIONS_MESSAGE,
	   "messages alone");
	request.query = BYTES("");
	subscription_free(&subscription);
	ok(subscription_parse(&request, &subscription, &problem) && subscription.operations == OPERATIONS_ALL,
	   "where they are turned on they belong to all");
}

int main(void)
{
	test_paths();
	test_defaults();
	test_starts();
	test_views();
	test_poll();
	test_malformed();
	test_problems();
	test_tenant_column();
	test_messages();
	subscription_free(&subscription);
	return tap_end();
}
