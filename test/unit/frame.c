/* frame.c: Server-Sent Events, byte by byte. */
#include "core/render/frame.h"

#include "example_body.h"
#include "tap.h"

static struct buffer out;
static const struct view everything;

static void test_change(void)
{
	struct document_reader reader;
	struct buffer insert = example_insert("u\r\n1", "Ada\n\n: \"\\");
	struct change change = example_change(OPERATION_INSERT);
	struct document document;

	if (!ok(document_reader_init(&reader), "a reader"))
		return;
	buffer_clear(&out);
	if (ok(document_read(&reader, &change, BYTES("public"), BYTES("us\ners"), buffer_bytes(&insert),
						 &document) == DOCUMENT_READ,
		   "is read"))
		frame_append_change(&out, &document, &everything);
	is_bytes(buffer_bytes(&out),
			 "id: 23987096-1\nevent: insert\n"
			 "data: {\"collection\":\"us\\ners\",\"operation\":\"INSERT\",\"document_id\":\"u\\r\\n1\","
			 "\"timestamp_ms\":1234567890123,\"lsn\":23987096,\"id\":\"23987096-1\",\"schema\":\"public\","
			 "\"xid\":745,"
			 "\"new\":{\"id\":\"u\\r\\n1\",\"name\":\"Ada\\n\\n: "
			 "\\\"\\\\\",\"age\":36,\"visits\":9007199254740993,"
			 "\"tags\":{\"a\": [1, 2.5, \"x\"]}}}\n\n",
			 "a change; line breaks in names and values stay inside the line");
	ok(frame_is_sound(buffer_bytes(&out)), "and is sound");
	buffer_free(&insert);
	document_reader_free(&reader);
}

static void test_others(void)
{
	buffer_clear(&out);
	frame_append_start(&out, 3000, (struct cursor){23987096, 0, 0});
	is_bytes(buffer_bytes(&out), "retry: 3000\nid: 23987096\n\n", "start");
	frame_append_keepalive(&out, (struct cursor){23987096, 2, 0});
	frame_append_warning(&out, 12, (struct cursor){23987097, 3, 0});
	frame_append_reset(&out, BYTES("another \"history\""), (struct cursor){5, 0, 0});
	frame_append_unpublished(&out, BYTES("public"), BYTES("us\ners"));
	is_bytes(buffer_bytes(&out),
			 "retry: 3000\nid: 23987096\n\n"
			 "id: 23987096-2\n\n"
			 "id: 23987097-3\nevent: warning\ndata: lagged 12 events\n\n"
			 "id: 5\nevent: reset\ndata: {\"reason\":\"another \\\"history\\\"\",\"oldest\":\"5\"}\n\n"
			 "event: unpublished\ndata: {\"collection\":\"us\\ners\",\"schema\":\"public\"}\n\n",
			 "keep-alive, warning, reset, unpublished");
	ok(frame_is_sound(buffer_bytes(&out)), "all of them together are sound");
}

static void test_soundness(void)
{
	ok(!frame_is_sound(BYTES("")), "nothing is no frame");
	ok(!frame_is_sound(BYTES("id: 1\n")), "a frame ends with an empty line");
	ok(!frame_is_sound(BYTES("id: 1\n\n\n")), "one empty line");
	ok(!frame_is_sound(BYTES("id: 1\ndata: a\nb\n\n")), "an LF in data");
	ok(!frame_is_sound(BYTES("id: 1\ndata: a\rb\n\n")), "a CR in data");
	ok(!frame_is_sound(BYTES("id: 1\ndata: a\ndata: b\n\n")), "a field twice");
	ok(!frame_is_sound((struct bytes){"id: 1\0\n\n", 8}), "a NUL");
	ok(!frame_is_sound(BYTES("id: \n\n")), "an empty id would take the client's last event id away");
}

int main(void)
{
	test_change();
	test_others();
	test_soundness();
	buffer_free(&out);
	return tap_end();
}
