/* percent.c: percent-encoding, there and back. */
#include "core/percent.h"

#include "tap.h"

static struct buffer out;

static const char *encoded(struct bytes text, const char *plain)
{
	buffer_clear(&out);
	percent_encode(&out, text, plain);
	return buffer_string(&out);
}

static void decodes(const char *text, bool plus_is_space, const char *wanted)
{
	buffer_clear(&out);
	ok(percent_decode(&out, bytes_of(text), plus_is_space), "'%s' is decoded", text);
	is_bytes(buffer_bytes(&out), wanted, "'%s': to '%s'", text, wanted);
}

int main(void)
{
	static const char *const broken[] = {"%", "%4", "a%", "%4g", "%g4", "%%41", "% 41"};

	is_text(encoded(BYTES("aZ09"), ""), "aZ09", "letters and digits stay");
	is_text(encoded(BYTES("a-b_c.d/e"), "-_"), "a-b_c%2Ed%2Fe", "and what is named");
	is_text(encoded(BYTES("\xc3\xa4\0%"), "%-"), "%C3%A4%00%", "bytes of UTF-8, and a 0");
	decodes("a%2eb%2E", false, "a.b.");
	decodes("a+b%2B", true, "a b+");
	decodes("a+b", false, "a+b");
	decodes("%C3%a4", false, "\xc3\xa4");
	decodes("", false, "");
	for (size_t i = 0; i < COUNT(broken); i++)
		ok(!percent_decode(&out, bytes_of(broken[i]), false), "'%s' is broken", broken[i]);
	buffer_free(&out);
	return tap_end();
}
