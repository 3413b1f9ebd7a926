/* walsender.c: the messages around pgoutput's, built here byte by byte as their documentation says. */
#include "core/upstream/walsender.h"

#include "tap.h"

static const char data[] = "w"
						   "\x01\x02\x03\x04\x05\x06\x07\x08"
						   "\xff\xff\xff\xff\xff\xff\xff\xff"
						   "\x00\x00\x00\x00\x00\x00\x00\x01"
						   "payload";
static const char keepalive[] = "k"
								"\x00\x00\x00\x00\x00\x00\x01\x00"
								"\xff\xff\xff\xff\xff\xff\xff\xff"
								"\x01";

/* Decodes a copy that ends where its memory ends, so that a sanitizer sees a read behind it. */
static const char *decode(const char *bytes, size_t size, struct walsender_message *ret_message)
{
	static char *copy;
	free(copy);
	copy = malloc(size == 0 ? 1 : size);
	memcpy(copy, bytes, size);
	return walsender_decode((struct bytes){copy, size}, ret_message);
}

static void is_refused_when_cut(const char *name, const char *bytes, size_t smallest)
{
	struct walsender_message message = {.lsn = 42};
	size_t wrong = 0;

	for (size_t size = 0; size < smallest; size++)
		wrong += decode(bytes, size, &message) == NULL;
	ok(wrong == 0 && message.lsn == 42, "%s: refused when cut at any of %zu places", name, smallest);
}

static void test_status(void)
{
	char status[WALSENDER_STATUS_SIZE];
	struct bytes found = {status, sizeof(status)};

	walsender_status(status, 0x0102030405060708, 256, INT64_C(946684800000001), true);
	ok(bytes_equal(found, BYTES("r"
								"\x01\x02\x03\x04\x05\x06\x07\x08"
								"\x00\x00\x00\x00\x00\x00\x01\x00"
								"\x00\x00\x00\x00\x00\x00\x01\x00"
								"\x00\x00\x00\x00\x00\x00\x00\x01"
								"\x01")),
	   "a status: received, flushed, applied, the time since 2000, and that an answer is wanted");
	walsender_status(status, 0, 0, 0, false);
	ok(status[WALSENDER_STATUS_SIZE - 1] == 0, "or that none is");
}

int main(void)
{
	struct walsender_message message;

	ok(decode(data, sizeof(data) - 1, &message) == NULL && message.type == WALSENDER_DATA, "data");
	is_u64(message.lsn, 0x0102030405060708, "starts at an LSN");
	is_u64((uint64_t)message.sent_us, 946684800000001, "was sent at a time since 1970");
	is_bytes(message.payload, "payload", "and holds a message of pgoutput");
	is_refused_when_cut("data", data, 1 + 8 + 8 + 8);

	ok(decode(keepalive, sizeof(keepalive) - 1, &message) == NULL && message.type == WALSENDER_KEEPALIVE,
	   "a keepalive");
	is_u64(message.lsn, 256, "says how far the walsender is");
	is_u64((uint64_t)message.sent_us, 946684799999999, "and when");
	ok(message.reply_asked, "and asks for a reply");
	is_refused_when_cut("a keepalive", keepalive, sizeof(keepalive) - 1);

	ok(decode("x2345678123456781234567812345678", 32, &message) != NULL, "anything else is refused");
	test_status();
	return tap_end();
}
