/* bytes.c: the buffer that everything is rendered into. */
#include "tap.h"

#include "core/bytes.h"

int main(void)
{
	struct buffer buffer = {0};
	buffer_append_u64(&buffer, 0);
	buffer_append_char(&buffer, ' ');
	buffer_append_u64(&buffer, UINT64_MAX);
	buffer_append_char(&buffer, ' ');
	buffer_append_i64(&buffer, INT64_MIN);
	is_bytes(buffer_bytes(&buffer), "0 18446744073709551615 -9223372036854775808", "numbers");

	buffer_clear(&buffer);
	for (int i = 0; i < 1000; i++)
		buffer_append_string(&buffer, "0123456789");
	ok(buffer.size == 10000 && memcmp(buffer.data + 9990, "0123456789", 10) == 0,
	   "grows and keeps what it has");

	char *before = buffer.data;
	buffer_restart(&buffer);
	ok(buffer.size == 0 && buffer.data == before, "begins again in the memory that it has");
	buffer_reserve(&buffer, 3 << 20);
	buffer_restart(&buffer);
	ok(buffer.capacity == 0, "but gives a lot of it back");

	buffer_printf(&buffer, "%s-%d", "text", 7);
	is_bytes(buffer_bytes(&buffer), "text-7", "printf");

	is_text(buffer_string(&buffer), "text-7", "as a string");
	is_u64(buffer.size, 6, "whose end does not count");
	buffer_append_string(&buffer, "8");
	is_text(buffer_message(&buffer), "text-78", "and is written over");

	ok(buffer_reserve(&buffer, SIZE_MAX / 2 + 1) == NULL && buffer.failed, "what cannot be had is said");
	buffer_append_string(&buffer, "more");
	is_bytes(buffer_bytes(&buffer), "text-78", "after a failure nothing is appended");
	ok(buffer_string(&buffer) == NULL, "there is no string of it");
	is_text(buffer_message(&buffer), "out of memory", "and people are told why");
	ok(buffer_msgpack_write(&buffer, "x", 1) == -1, "and a packer is told");
	buffer_free(&buffer);
	ok(!buffer.failed && buffer.size == 0, "free leaves a buffer that can be used again");
	return tap_end();
}
