/* json.c: the writer of JSON, and UTF-8. */
#include "core/render/json.h"

#include "core/utf8.h"
#include "core/upstream/value.h"
#include "tap.h"

static struct buffer out;

static void is_string(struct bytes text, const char *wanted, const char *name)
{
	buffer_clear(&out);
	json_append_string(&out, text);
	is_bytes(buffer_bytes(&out), wanted, "%s", name);
}

static void test_strings(void)
{
	is_string(BYTES(""), "\"\"", "an empty string");
	is_string((struct bytes){NULL, 0}, "\"\"", "no bytes at all");
	is_string(BYTES("plain text of more than eight bytes"), "\"plain text of more than eight bytes\"",
			  "plain text");
	is_string(BYTES("a\"b\\c"), "\"a\\\"b\\\\c\"", "quote and backslash");
	is_string(BYTES("\b\t\n\f\r"), "\"\\b\\t\\n\\f\\r\"", "short escapes");
	is_string(BYTES("\0\x01\x1f\x7f"), "\"\\u0000\\u0001\\u001f\x7f\"",
			  "control characters, NUL, and DEL that needs none");
	is_string(BYTES("caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80"),
			  "\"caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80\"", "UTF-8 of two, three and four bytes passes");
	is_string(BYTES("\xC3\xA9\xFFx\xC3"), "\"\xC3\xA9\xEF\xBF\xBDx\xEF\xBF\xBD\"",
			  "malformed bytes become U+FFFD");
}

/* Each special byte at each place of the eight bytes that are looked at together. */
static void test_every_place(void)
{
	static const struct {
		char byte;
		const char *escaped;
	} specials[] = {{'"', "\\\""},  {'\\', "\\\\"},    {'\n', "\\n"}, {'\r', "\\r"},
					{0, "\\u0000"}, {0x1f, "\\u001f"}, {' ', " "},    {'!', "!"},
					{'#', "#"},     {'[', "["},        {']', "]"},    {'~', "~"}};
	unsigned wrong = 0;

	for (size_t s = 0; s < COUNT(specials); s++) {
		for (size_t place = 0; place < 20; place++) {
			char text[20], wanted[32];
			memset(text, 'x', sizeof(text));
			text[place] = specials[s].byte;
			int size = snprintf(wanted, sizeof(wanted), "\"%.*s%s%.*s\"", (int)place, "xxxxxxxxxxxxxxxxxxxx",
								specials[s].escaped, (int)(19 - place), "xxxxxxxxxxxxxxxxxxxx");
			buffer_clear(&out);
			json_append_string(&out, (struct bytes){text, sizeof(text)});
			wrong += !bytes_equal(buffer_bytes(&out), (struct bytes){wanted, (size_t)size});
		}
	}
	is_u64(wrong, 0, "special bytes are seen at every place");
}

static msgpack_object extension(int8_t type, const char *text)
{
	return (msgpack_object){.type = MSGPACK_OBJECT_EXT, .via.ext = {type, (uint32_t)strlen(text), text}};
}

static void is_value(msgpack_object value, bool numbers_as_strings, const char *wanted, const char *name)
{
	buffer_clear(&out);
	json_append_value(&out, &value, (struct json_options){.numbers_as_strings = numbers_as_strings});
	is_bytes(buffer_bytes(&out), wanted, "%s", name);
}

static bool takes_objects(struct bytes json)
{
	return json.data[0] == '{';
}

static void test_refused_json(void)
{
	msgpack_object values[] = {extension(VALUE_JSON, "{\"a\": 1}"), extension(VALUE_JSON, "\"\\u0000\"")};
	msgpack_object array = {.type = MSGPACK_OBJECT_ARRAY, .via.array = {2, values}};

	buffer_clear(&out);
	json_append_value(&out, &array, (struct json_options){.takes_json = takes_objects});
	is_bytes(buffer_bytes(&out), "[{\"a\": 1},\"\\\"\\\\u0000\\\"\"]",
			 "json that the reader does not take is a string of its text");
}

static void test_scalars(void)
{
	is_value((msgpack_object){.type = MSGPACK_OBJECT_NIL}, false, "null", "nil");
	is_value((msgpack_object){.type = MSGPACK_OBJECT_BOOLEAN, .via.boolean = true}, false, "true", "true");
	is_value((msgpack_object){.type = MSGPACK_OBJECT_BOOLEAN}, false, "false", "false");
	is_value((msgpack_object){.type = MSGPACK_OBJECT_POSITIVE_INTEGER, .via.u64 = UINT64_MAX}, false,
			 "18446744073709551615", "the largest integer");
	is_value((msgpack_object){.type = MSGPACK_OBJECT_NEGATIVE_INTEGER, .via.i64 = INT64_MIN}, false,
			 "-9223372036854775808", "the smallest integer");
	is_value((msgpack_object){.type = MSGPACK_OBJECT_FLOAT64, .via.f64 = 0.5}, false, "0.5", "a float");
	is_value((msgpack_object){.type = MSGPACK_OBJECT_FLOAT64, .via.f64 = 1.0 / 0.0}, false, "null",
			 "infinity");
	is_value((msgpack_object){.type = MSGPACK_OBJECT_BIN, .via.bin = {3, "\x00\xfe\x7f"}}, false,
			 "\"\\\\x00fe7f\"", "bytea");
	is_value((msgpack_object){.type = MSGPACK_OBJECT_BIN, .via.bin = {0, NULL}}, false, "\"\\\\x\"",
			 "empty bytea");
}

/* RFC 4648, section 10. */
static void test_base64(void)
{
	static const char *const pairs[][2] = {{"", ""},
										   {"f", "Zg=="},
										   {"fo", "Zm8="},
										   {"foo", "Zm9v"},
										   {"foob", "Zm9vYg=="},
										   {"fooba", "Zm9vYmE="},
										   {"foobar", "Zm9vYmFy"},
										   {"\xfb\xff\xbf", "+/+/"}};

	for (size_t i = 0; i < COUNT(pairs); i++) {
		struct buffer out = {0};
		char wanted[16];
		json_append_base64(&out, bytes_of(pairs[i][0]));
		snprintf(wanted, sizeof(wanted), "\"%s\"", pairs[i][1]);
		is_bytes(buffer_bytes(&out), wanted, "base64: %s", pairs[i][1]);
		buffer_free(&out);
	}
}

static void test_extensions(void)
{
	is_value(extension(VALUE_BIGINT, "9007199254740993"), false, "9007199254740993", "int8");
	is_value(extension(VALUE_BIGINT, "9007199254740993"), true, "\"9007199254740993\"", "int8 as a string");
	is_value(extension(VALUE_NUMERIC, "1.50"), false, "1.50", "numeric keeps its digits");
	is_value(extension(VALUE_NUMERIC, "1.50"), true, "\"1.50\"", "numeric as a string");
	is_value(extension(VALUE_FLOAT, "1e+20"), true, "1e+20", "float8 stays a number");
	is_value(extension(VALUE_JSON, "{\"a\": 1}"), true, "{\"a\": 1}", "json is copied");
	is_value(extension(VALUE_JSON, "{\n\"a\":\r\n\t1}"), false, "{ \"a\":   1}", "json is put on one line");
	is_value(extension(VALUE_JSON, ""), false, "null", "empty json, which the feed never packs");
	is_value(extension(99, "x"), false, "null", "an unknown extension");
}

static void test_containers(void)
{
	msgpack_object values[] = {{.type = MSGPACK_OBJECT_NIL}, {.type = MSGPACK_OBJECT_BOOLEAN}};
	msgpack_object_kv members[] = {{{.type = MSGPACK_OBJECT_STR, .via.str = {2, "a\""}},
									{.type = MSGPACK_OBJECT_ARRAY, .via.array = {2, values}}},
								   {{.type = MSGPACK_OBJECT_NIL}, {.type = MSGPACK_OBJECT_MAP}}};

	is_value((msgpack_object){.type = MSGPACK_OBJECT_ARRAY}, false, "[]", "an empty array");
	is_value((msgpack_object){.type = MSGPACK_OBJECT_MAP, .via.map = {2, members}}, false,
			 "{\"a\\\"\":[null,false],\"\":{}}", "maps, names escaped, a name that is no str");
}

static void test_utf8(void)
{
	ok(utf8_valid(BYTES("\xF4\x8F\xBF\xBF")), "U+10FFFF");
	ok(!utf8_valid(BYTES("\xF4\x90\x80\x80")), "above U+10FFFF");
	ok(!utf8_valid(BYTES("\xC0\xAF")), "an overlong form of two bytes");
	ok(!utf8_valid(BYTES("\xE0\x9F\xBF")), "an overlong form of three bytes");
	ok(!utf8_valid(BYTES("\xF0\x8F\xBF\xBF")), "an overlong form of four bytes");
	ok(!utf8_valid(BYTES("\xED\xA0\x80")), "a surrogate");
	is_u64(utf8_whole(BYTES("ab\xE2\x82")), 2, "a character cut off is left out");
	is_u64(utf8_whole(BYTES("ab\xE2\x82\xAC")), 5, "a whole one is not");
	is_u64(utf8_whole(BYTES("")), 0, "nothing");
}

int main(void)
{
	test_strings();
	test_every_place();
	test_refused_json();
	test_scalars();
	test_base64();
	test_extensions();
	test_containers();
	test_utf8();
	buffer_free(&out);
	return tap_end();
}
