/* format.c: one change in the envelopes of Debezium and CloudEvents. */
#include "core/render/format.h"

#include "core/ring/ring.h"
#include "example_body.h"
#include "tap.h"

static const struct ring_identity origin = {
	.system_identifier = 7302, .timeline = 2, .database = "a/b \xC3\xA9", .slot = "changefeed"};

static struct buffer out;

static void show(const struct document *document, const struct view *view)
{
	struct document shown = document_shown(document, view);
	format_append(&out, &shown, view, DOCUMENT_EVENT);
}

/* Renders one change, with the body of the example's INSERT, or without one. */
static void render(const struct change *change, struct buffer *body, struct view view)
{
	struct document_reader reader;
	struct document document;

	view.origin = &origin;
	buffer_clear(&out);
	if (!ok(document_reader_init(&reader), "a reader"))
		return;
	if (ok(document_read(&reader, change, BYTES("public"), BYTES("us\"ers"),
						 body == NULL ? (struct bytes){0} : buffer_bytes(body), &document) == DOCUMENT_READ,
		   "is read"))
		show(&document, &view);
	document_reader_free(&reader);
}

static bool has(const char *text)
{
	return out.size > 0 && memmem(out.data, out.size, text, strlen(text)) != NULL;
}

#define SOURCE                                                                                               \
	"\"source\":{\"version\":\"" PG_CHANGEFEED_VERSION                                                       \
	"\",\"connector\":\"postgresql\",\"name\":\"changefeed\",\"ts_ms\":1234567890123,"                       \
	"\"ts_us\":1234567890123456,\"ts_ns\":1234567890123456000,\"snapshot\":\"false\",\"db\":\"a/b "          \
	"\xC3\xA9\","                                                                                            \
	"\"sequence\":\"[\\\"23987096\\\",\\\"1\\\"]\",\"schema\":\"public\",\"table\":\"us\\\"ers\",\"txId\":"  \
	"745,"                                                                                                   \
	"\"lsn\":23987096,\"xmin\":null}"
#define TIMES "\"ts_ms\":1234567890123,\"ts_us\":1234567890123456,\"ts_ns\":1234567890123456000"

static void test_debezium(void)
{
	struct view view = {.format = FORMAT_DEBEZIUM, .key_only = true};
	struct change change = example_change(OPERATION_INSERT);
	struct buffer body = example_insert("u1", "Ada");

	change.commit_us = INT64_C(1234567890123456);
	render(&change, &body, view);
	is_bytes(buffer_bytes(&out),
			 "{\"before\":null,\"after\":{\"id\":\"u1\"}," SOURCE ",\"op\":\"c\"," TIMES
			 ",\"transaction\":null}",
			 "an INSERT, its key only");
	change.flags = CHANGE_OVERSIZE;
	render(&change, &body, view);
	is_bytes(buffer_bytes(&out),
			 "{\"before\":null,\"after\":null," SOURCE ",\"op\":\"c\"," TIMES
			 ",\"transaction\":null,\"oversize\":true}",
			 "a row that the ring did not hold");
	change.flags = 0;
	struct buffer update = example_update();
	change.operation = OPERATION_UPDATE;
	view.tenant_column = BYTES("name");
	view.tenant = BYTES("Augusta");
	render(&change, &update, view);
	is_bytes(buffer_bytes(&out),
			 "{\"before\":{\"id\":\"u1\"},\"after\":null," SOURCE ",\"op\":\"d\"," TIMES
			 ",\"transaction\":null}",
			 "a row that moved to another tenant");
	view.tenant_column = BYTES("biography");
	render(&change, &update, view);
	is_bytes(buffer_bytes(&out),
			 "{\"before\":null,\"after\":null," SOURCE ",\"op\":\"u\"," TIMES
			 ",\"transaction\":null,\"oversize\":true}",
			 "a row of nobody knows whom");
	buffer_free(&update);
	change.operation = OPERATION_TRUNCATE;
	render(&change, NULL, view);
	is_bytes(buffer_bytes(&out), "{" SOURCE ",\"op\":\"t\"," TIMES ",\"transaction\":null}",
			 "a TRUNCATE has no rows");
	change.commit_us = 0;
	render(&change, NULL, view);
	ok(has("\"ts_ms\":0,\"ts_us\":0,\"ts_ns\":0,"), "the zero of time");
	change.commit_us = INT64_MIN;
	render(&change, NULL, view);
	ok(has("\"ts_us\":-9223372036854775808,\"ts_ns\":-9223372036854775808000,"), "the beginning of time");
	buffer_free(&body);
}

static void test_cloudevents(void)
{
	struct view view = {.format = FORMAT_CLOUDEVENTS};
	struct change change = example_change(OPERATION_TRUNCATE);

	change.commit_us = INT64_C(1234567890123456);
	render(&change, NULL, view);
	is_bytes(buffer_bytes(&out),
			 "{\"specversion\":\"1.0\",\"id\":\"23987096-1\",\"source\":\"/postgresql/7302/2/a%2Fb%20%C3%A9/"
			 "changefeed\","
			 "\"type\":\"pg_changefeed.truncate\",\"subject\":\"public.us\\\"ers\","
			 "\"time\":\"2009-02-13T23:31:30.123456Z\",\"datacontenttype\":\"application/json\","
			 "\"data\":{\"collection\":\"us\\\"ers\",\"operation\":\"TRUNCATE\",\"document_id\":null,"
			 "\"timestamp_ms\":1234567890123,\"lsn\":23987096,\"id\":\"23987096-1\",\"schema\":\"public\","
			 "\"xid\":745}}",
			 "the document is the data");
	change.commit_us = -1;
	render(&change, NULL, view);
	ok(has("\"time\":\"1969-12-31T23:59:59.999999Z\""), "before 1970");
	change.commit_us = INT64_C(253402300800) * 1000000;
	render(&change, NULL, view);
	ok(!has("\"time\""), "the year 10000 has no form");
	change.commit_us = INT64_MIN;
	render(&change, NULL, view);
	ok(!has("\"time\""), "nor has the beginning of time");
}

static void test_messages(void)
{
	struct view debezium = {.format = FORMAT_DEBEZIUM}, cloudevents = {.format = FORMAT_CLOUDEVENTS};
	struct change change = example_change(OPERATION_MESSAGE);
	struct buffer body = example_message("jobs", BYTES("hi"), true),
				  unnamed = example_message("", BYTES(""), true),
				  unprintable = example_message("jobs\xC2\x85", BYTES(""), true);

	render(&change, &body, debezium);
	ok(has("\"op\":\"m\",") && has(",\"message\":{\"prefix\":\"jobs\",\"content\":\"aGk=\"}") &&
		   !has("\"before\""),
	   "a message of Debezium");
	render(&change, NULL, debezium);
	ok(has(",\"message\":null"), "one that the ring did not hold");
	change.xid = 0;
	render(&change, &body, debezium);
	ok(has("\"txId\":null,"), "one of no transaction");
	render(&change, &body, cloudevents);
	ok(has("\"type\":\"pg_changefeed.message\",\"subject\":\"jobs\","), "a message's subject is its prefix");
	render(&change, &unnamed, cloudevents);
	ok(!has("\"subject\""), "an empty prefix is none");
	render(&change, &unprintable, cloudevents);
	ok(!has("\"subject\""), "nor is one with a control character, which CloudEvents has no form for");
	buffer_free(&unprintable);
	buffer_free(&body);
	buffer_free(&unnamed);
}

int main(void)
{
	test_debezium();
	test_cloudevents();
	test_messages();
	buffer_free(&out);
	return tap_end();
}
