/*
 * value.c: text output of PostgreSQL to MessagePack. What was packed is unpacked with msgpack-c and written
 * down as
 *
 *   nil  true  12  'str'  x'00ff' (bin)  bigint(12) float(1.5) numeric(1.50) json({"a":1})  [1,2]  {'a':1}
 */
#include "core/upstream/value.h"

#include "tap.h"

static struct buffer written;

static void write_value(const msgpack_object *value);

static void write_list(const msgpack_object_array *list)
{
	buffer_append_char(&written, '[');
	for (uint32_t i = 0; i < list->size; i++) {
		buffer_append_string(&written, i == 0 ? "" : ",");
		write_value(&list->ptr[i]);
	}
	buffer_append_char(&written, ']');
}

static void write_map(const msgpack_object_map *map)
{
	buffer_append_char(&written, '{');
	for (uint32_t i = 0; i < map->size; i++) {
		buffer_append_string(&written, i == 0 ? "" : ",");
		write_value(&map->ptr[i].key);
		buffer_append_char(&written, ':');
		write_value(&map->ptr[i].val);
	}
	buffer_append_char(&written, '}');
}

static void write_extension(const msgpack_object_ext *extension)
{
	static const char *names[] = {"?", "bigint", "float", "numeric", "json"};
	buffer_append_string(&written, names[extension->type > 0 && extension->type <= 4 ? extension->type : 0]);
	buffer_append_char(&written, '(');
	buffer_append(&written, extension->ptr, extension->size);
	buffer_append_char(&written, ')');
}

static void write_value(const msgpack_object *value)
{
	switch (value->type) {
	case MSGPACK_OBJECT_NIL:
		buffer_append_string(&written, "nil");
		break;
	case MSGPACK_OBJECT_BOOLEAN:
		buffer_append_string(&written, value->via.boolean ? "true" : "false");
		break;
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
		buffer_append_u64(&written, value->via.u64);
		break;
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
		buffer_append_i64(&written, value->via.i64);
		break;
	case MSGPACK_OBJECT_STR:
		buffer_printf(&written, "'%.*s'", (int)value->via.str.size, value->via.str.ptr);
		break;
	case MSGPACK_OBJECT_BIN:
		buffer_append_string(&written, "x'");
		for (uint32_t i = 0; i < value->via.bin.size; i++)
			buffer_printf(&written, "%02x", (unsigned char)value->via.bin.ptr[i]);
		buffer_append_char(&written, '\'');
		break;
	case MSGPACK_OBJECT_EXT:
		write_extension(&value->via.ext);
		break;
	case MSGPACK_OBJECT_ARRAY:
		write_list(&value->via.array);
		break;
	case MSGPACK_OBJECT_MAP:
		write_map(&value->via.map);
		break;
	default:
		buffer_append_string(&written, "unexpected");
	}
}

/* Packs, unpacks, and leaves in `written` what came out. */
static void pack_and_write(const struct type *type, struct bytes text)
{
	struct buffer packed = {0};
	msgpack_packer packer;
	msgpack_unpacked unpacked;
	size_t end = 0;

	msgpack_packer_init(&packer, &packed, buffer_msgpack_write);
	value_pack(&packer, type, text);
	msgpack_unpacked_init(&unpacked);
	buffer_clear(&written);
	if (msgpack_unpack_next(&unpacked, packed.data, packed.size, &end) != MSGPACK_UNPACK_SUCCESS ||
		end != packed.size)
		buffer_append_string(&written, "not one whole value");
	else
		write_value(&unpacked.data);
	msgpack_unpacked_destroy(&unpacked);
	buffer_free(&packed);
}

static void packs(const struct type *type, const char *text, const char *wanted)
{
	pack_and_write(type, bytes_of(text));
	is_bytes(buffer_bytes(&written), wanted, "%.60s", wanted);
}

/* A value that is packed as str of its text, because the text does not have the type's form. */
static void packs_as_text(const struct type *type, const char *text)
{
	char wanted[512];
	snprintf(wanted, sizeof(wanted), "'%s'", text);
	packs(type, text, wanted);
}

enum {
	OID_BOOL = 16,
	OID_BYTEA = 17,
	OID_INT8 = 20,
	OID_INT2VECTOR = 22,
	OID_INT4 = 23,
	OID_TEXT = 25,
	OID_OIDVECTOR = 30,
	OID_JSON = 114,
	OID_JSON_ARRAY = 199,
	OID_FLOAT8 = 701,
	OID_BYTEA_ARRAY = 1001,
	OID_INT2VECTOR_ARRAY = 1006,
	OID_INT4_ARRAY = 1007,
	OID_TEXT_ARRAY = 1009,
	OID_BOX_ARRAY = 1020,
	OID_FLOAT8_ARRAY = 1022,
	OID_DATE = 1082,
	OID_TIMESTAMP = 1114,
	OID_TIMESTAMP_ARRAY = 1115,
	OID_TIMESTAMPTZ = 1184,
	OID_NUMERIC = 1700,
	OID_JSONB = 3802,
};

static const struct type *builtin(uint32_t oid)
{
	return type_builtin(oid);
}

static void test_scalars(void)
{
	packs(builtin(OID_BOOL), "t", "true");
	packs(builtin(OID_BOOL), "f", "false");
	packs_as_text(builtin(OID_BOOL), "true");
	packs_as_text(builtin(OID_BOOL), "");

	packs(builtin(OID_INT4), "0", "0");
	packs(builtin(OID_INT4), "-2147483648", "-2147483648");
	packs(builtin(OID_INT4), "2147483647", "2147483647");
	packs_as_text(builtin(OID_INT4), "");
	packs_as_text(builtin(OID_INT4), "-");
	packs_as_text(builtin(OID_INT4), "12a");
	packs_as_text(builtin(OID_INT4), "12345678901");

	packs(builtin(OID_INT8), "-9223372036854775808", "bigint(-9223372036854775808)");
	packs(builtin(OID_NUMERIC), "123456789012345678901234567890.10",
		  "numeric(123456789012345678901234567890.10)");
	packs_as_text(builtin(OID_NUMERIC), "NaN");
	packs_as_text(builtin(OID_NUMERIC), "-Infinity");
	packs(builtin(OID_FLOAT8), "1.7976931348623157e+308", "float(1.7976931348623157e+308)");
	packs(builtin(OID_FLOAT8), "-0", "float(-0)");
	packs_as_text(builtin(OID_FLOAT8), "Infinity");
	packs_as_text(builtin(OID_FLOAT8), "1.");
	packs_as_text(builtin(OID_FLOAT8), ".5");
	packs_as_text(builtin(OID_FLOAT8), "01");
	packs_as_text(builtin(OID_FLOAT8), "1e");
	packs_as_text(builtin(OID_FLOAT8), "1,2");

	packs(builtin(OID_TEXT), "", "''");
	packs(builtin(OID_TEXT), "a \"b\" \\ c", "'a \"b\" \\ c'");
	packs(builtin(OID_BYTEA), "\\x", "x''");
	packs(builtin(OID_BYTEA), "\\x00ff5c", "x'00ff5c'");
	packs_as_text(builtin(OID_BYTEA), "\\x0");
	packs_as_text(builtin(OID_BYTEA), "\\xzz");
	packs_as_text(builtin(OID_BYTEA), "\\000");
	pack_and_write(builtin(OID_TEXT), (struct bytes){NULL, 0});
	is_bytes(buffer_bytes(&written), "''", "no bytes at all");
}

static void test_times(void)
{
	packs(builtin(OID_DATE), "0044-03-15 BC", "'0044-03-15 BC'");
	packs(builtin(OID_TIMESTAMP), "2020-01-01 00:00:00", "'2020-01-01T00:00:00'");
	packs(builtin(OID_TIMESTAMP), "294276-12-31 23:59:59.999999", "'294276-12-31T23:59:59.999999'");
	packs(builtin(OID_TIMESTAMP), "0044-03-15 10:00:00.12345 BC", "'0044-03-15T10:00:00.12345 BC'");
	packs_as_text(builtin(OID_TIMESTAMP), "-infinity");
	packs(builtin(OID_TIMESTAMPTZ), "2020-01-01 00:00:00.5+00", "'2020-01-01T00:00:00.5+00:00'");
	packs(builtin(OID_TIMESTAMPTZ), "0044-03-15 10:00:00+00 BC", "'0044-03-15T10:00:00+00:00 BC'");
	packs(builtin(OID_TIMESTAMPTZ), "2020-01-01 00:00:00+05:30", "'2020-01-01T00:00:00+05:30'");
	packs(builtin(OID_TIMESTAMPTZ), "1883-01-01 00:00:00-07:52:58", "'1883-01-01T00:00:00-07:52:58'");
	packs_as_text(builtin(OID_TIMESTAMPTZ), "infinity");
	packs_as_text(builtin(OID_TIMESTAMPTZ), "Wed Jan 01 00:00:00 2020 UTC");
	packs_as_text(builtin(OID_TIMESTAMP), "2020-01-01 00:00");
	packs_as_text(builtin(OID_TIMESTAMP), "2020-01-01 00:00:00 and more");
}

static void test_json(void)
{
	packs(builtin(OID_JSONB), "{\"a\": [1, 2.50, -1e5, true, false, null, {}, []], \"b\": \"x\\\"\\u00e9\"}",
		  "json({\"a\": [1, 2.50, -1e5, true, false, null, {}, []], \"b\": \"x\\\"\\u00e9\"})");
	packs(builtin(OID_JSON), " 1 ", "json( 1 )");
	packs(builtin(OID_JSON), "\n{ \"a b\" :\r\n\t[ 1 ,\n\"\\\\\", \" \\\" \" ] }\n",
		  "json({\"a b\":[1,\"\\\\\",\" \\\" \"]})");

	static const char *malformed[] = {
		"",        " ",     "{",   "[1",      "[1,]",        "{\"a\":}",
		"{\"a\"}", "{1:2}", "[1}", "{]",      "1 2",         "01",
		"tru",     "nullx", "\"a", "\"\\x\"", "\"\\u12g4\"", "\"\t\"",
		"[1],",    "]",     "+1",  "{,}",     "[,1]",        "{\"a\":1 \"b\":2}",
	};
	for (size_t i = 0; i < COUNT(malformed); i++)
		packs_as_text(builtin(OID_JSON), malformed[i]);
}

static void test_deep_json(void)
{
	enum { LEVELS = 10000, TOO_MANY = 20000 };
	static char text[2 * TOO_MANY];
	memset(text, '[', LEVELS);
	memset(text + LEVELS, ']', LEVELS);
	pack_and_write(builtin(OID_JSON), (struct bytes){text, (size_t)2 * LEVELS});
	ok(written.size == 2 * LEVELS + strlen("json()"), "json as deep as PostgreSQL reads it");
	memset(text, '[', TOO_MANY);
	memset(text + TOO_MANY, ']', TOO_MANY);
	pack_and_write(builtin(OID_JSON), (struct bytes){text, (size_t)2 * TOO_MANY});
	ok(written.size == 2 * TOO_MANY + strlen("''"), "json beyond that is text");
}

static void test_arrays(void)
{
	packs(builtin(OID_INT4_ARRAY), "{}", "[]");
	packs(builtin(OID_INT4_ARRAY), "{1,NULL,-3}", "[1,nil,-3]");
	packs(builtin(OID_INT4_ARRAY), "[0:2]={1,2,3}", "[1,2,3]");
	packs(builtin(OID_INT4_ARRAY), "[-5:-4][3:3]={{1},{NULL}}", "[[1],[nil]]");
	packs(builtin(OID_INT4_ARRAY), "{{{1,2},{3,4}},{{5,6},{7,8}}}", "[[[1,2],[3,4]],[[5,6],[7,8]]]");
	packs(builtin(OID_INT4_ARRAY), "{{{{{{1}}}}}}", "[[[[[[1]]]]]]");
	packs(builtin(OID_INT4_ARRAY), "{1,x}", "[1,'x']");
	packs(builtin(OID_TEXT_ARRAY), "{NULL,\"NULL\",null,\"\",a,\"a b\",\"{,}\"}",
		  "[nil,'NULL','null','','a','a b','{,}']");
	packs(builtin(OID_TEXT_ARRAY), "{\"\\\"\",\"\\\\\",\"a\\\\\\\"b\"}", "['\"','\\','a\\\"b']");
	packs(builtin(OID_FLOAT8_ARRAY), "{1.5,NaN}", "[float(1.5),'NaN']");
	packs(builtin(OID_BYTEA_ARRAY), "{\"\\\\x00ff\",\"\\\\x\"}", "[x'00ff',x'']");
	packs(builtin(OID_TIMESTAMP_ARRAY), "{\"2020-01-01 00:00:00\",infinity}",
		  "['2020-01-01T00:00:00','infinity']");
	packs(builtin(OID_BOX_ARRAY), "{(1,2),(0,0);(3,4),(0,0)}", "['(1,2),(0,0)','(3,4),(0,0)']");
	packs(builtin(OID_JSON_ARRAY), "{\"{\\\"a\\\":\n 1}\",\"\\\"x\\\\\\\\y\\\"\",null}",
		  "[json({\"a\":1}),json(\"x\\\\y\"),json(null)]");

	static const char *malformed[] = {
		"",
		"1",
		"{",
		"{1",
		"{1,}",
		"{,1}",
		"{1}x",
		"{1}{2}",
		"{{1},2}",
		"{1,{2}}",
		"{{1},{2,3}}",
		"{{},{}}",
		"{{{{{{{1}}}}}}}",
		"{\"a}",
		"{\"a\\",
		"{\"a\"b}",
		"{a\"b\"}",
		"[0:1]{1,2}",
		"[0:1={1,2}",
		"}",
		"{1}}",
	};
	for (size_t i = 0; i < COUNT(malformed); i++)
		packs_as_text(builtin(OID_TEXT_ARRAY), malformed[i]);
}

static void test_vectors(void)
{
	packs(builtin(OID_INT2VECTOR), "", "[]");
	packs(builtin(OID_INT2VECTOR), "7", "[7]");
	packs(builtin(OID_INT2VECTOR), "1 -2 3", "[1,-2,3]");
	packs(builtin(OID_OIDVECTOR), "1 4294967295", "['1','4294967295']");
	packs(builtin(OID_INT2VECTOR_ARRAY), "{\"1 2\",\"\",3}", "[[1,2],[],[3]]");
}

static const struct type hstore = {.kind = TYPE_HSTORE};

static void test_hstore(void)
{
	packs(&hstore, "", "{}");
	packs(&hstore, "\"a\"=>\"1\", \"b\"=>NULL, \"N\"=>\"NULL\", \"\"=>\"\"",
		  "{'a':'1','b':nil,'N':'NULL','':''}");
	packs(&hstore, "\"q\\\"\\\\c\"=>\"x, \\\"y\\\"=>z\"", "{'q\"\\c':'x, \"y\"=>z'}");

	static const char *malformed[] = {
		"a=>1",
		"\"a\"",
		"\"a\"=>",
		"\"a\"=>NUL",
		"\"a\"=>NULL, ",
		"\"a\"=>NULLx",
		"\"a\"=>\"1\",\"b\"=>\"2\"",
		"\"a\"=>\"1",
		"\"a\\",
	};
	for (size_t i = 0; i < COUNT(malformed); i++)
		packs_as_text(&hstore, malformed[i]);
}

static void test_composites(void)
{
	const struct type_field fields[] = {{"a", builtin(OID_INT4)}, {"b c", builtin(OID_TEXT)}};
	const struct type pair = {.kind = TYPE_COMPOSITE, .field_count = 2, .fields = fields};
	const struct type single = {.kind = TYPE_COMPOSITE, .field_count = 1, .fields = fields};
	const struct type empty = {.kind = TYPE_COMPOSITE};

	packs(&pair, "(1,x)", "{'a':1,'b c':'x'}");
	packs(&pair, "(,)", "{'a':nil,'b c':nil}");
	packs(&pair, "(-1,\"\")", "{'a':-1,'b c':''}");
	packs(&pair, "(1,\"x\"\"\\\\,() \")", "{'a':1,'b c':'x\"\\,() '}");
	packs(&pair, "(x,x)", "{'a':'x','b c':'x'}");
	packs(&single, "()", "{'a':nil}");
	packs(&empty, "()", "{}");

	static const char *malformed[] = {"",        "(",      "(1",      "1,x",        "(1)",       "()",
									  "(1,x,y)", "(1,x)y", "(1,\"x)", "(1,x\"y\")", "(1,\"x\"y)"};
	for (size_t i = 0; i < COUNT(malformed); i++)
		packs_as_text(&pair, malformed[i]);
	packs_as_text(&empty, "(1)");
	packs_as_text(&empty, "(\"\")");
}

/* What PostgreSQL 15 wrote for array[row(array[row('a"\', '{"k": "v\"\\"}', 'k=>"\"v\\"')]), null]. */
static void test_nesting(void)
{
	const struct type_field inner_fields[] = {
		{"t", builtin(OID_TEXT)}, {"j", builtin(OID_JSONB)}, {"h", &hstore}};
	const struct type inner = {.kind = TYPE_COMPOSITE, .field_count = 3, .fields = inner_fields};
	const struct type inners = {.kind = TYPE_ARRAY, .delimiter = ',', .element = &inner};
	const struct type_field outer_fields[] = {{"i", &inners}};
	const struct type outer = {.kind = TYPE_COMPOSITE, .field_count = 1, .fields = outer_fields};
	const struct type outers = {.kind = TYPE_ARRAY, .delimiter = ',', .element = &outer};

	packs(&outers,
		  "{\"(\\\"{\\\"\\\"(\\\\\\\\\\\"\\\"a\\\\\\\\\\\"\\\"\\\\\\\\\\\"\\\"\\\\\\\\\\\\\\\\\\\\"
		  "\\\\\\\\\\\\\\\\\\\\\\\"\\\",\\\\\\\\\\\"\\\"{\\\\\\\\\\\"\\\"\\\\\\\\\\\"\\\"k\\\\\\\\"
		  "\\\"\\\"\\\\\\\\\\\"\\\": \\\\\\\\\\\"\\\"\\\\\\\\\\\"\\\"v\\\\\\\\\\\\\\\\\\\\\\\\\\\\"
		  "\\\\\\\\\\\\\\\"\\\"\\\\\\\\\\\"\\\"\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\"
		  "\\\\\\\\\\\\\\\\\\\\\\\"\\\"\\\\\\\\\\\"\\\"}\\\\\\\\\\\"\\\",\\\\\\\\\\\"\\\"\\\\\\\\\\"
		  "\"\\\"\\\\\\\\\\\"\\\"k\\\\\\\\\\\"\\\"\\\\\\\\\\\"\\\"=>\\\\\\\\\\\"\\\"\\\\\\\\\\\"\\"
		  "\"\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\"\\\"\\\\\\\\\\\"\\\"v\\\\\\\\\\\\\\\\\\\\"
		  "\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\"\\\"\\\\\\\\\\\"\\\"\\\\\\\\\\\""
		  "\\\")\\\"\\\"}\\\")\",NULL}",
		  "[{'i':[{'t':'a\"\\','j':json({\"k\":\"v\\\"\\\\\"}),'h':{'k':'\"v\\'}}]},nil]");
}

/* record_out, for a composite of one field. */
static void wrap_in_composite(struct buffer *text)
{
	struct buffer wrapped = {0};
	buffer_append_string(&wrapped, "(\"");
	for (size_t i = 0; i < text->size; i++) {
		if (text->data[i] == '"' || text->data[i] == '\\')
			buffer_append_char(&wrapped, text->data[i]);
		buffer_append_char(&wrapped, text->data[i]);
	}
	buffer_append_string(&wrapped, "\")");
	buffer_free(text);
	*text = wrapped;
}

/* However deep a type is, VALUE_DEPTH_MAX levels of it become arrays and maps. */
static void test_depth(void)
{
	enum { LEVELS = VALUE_DEPTH_MAX + 2 };
	struct type types[LEVELS + 1];
	struct type_field fields[LEVELS];
	struct buffer text = {0}, wanted = {0};

	types[LEVELS] = *builtin(OID_INT4);
	buffer_append_string(&text, "1");
	for (unsigned i = LEVELS; i-- > 0;) {
		fields[i] = (struct type_field){"f", &types[i + 1]};
		types[i] = (struct type){.kind = TYPE_COMPOSITE, .field_count = 1, .fields = &fields[i]};
		wrap_in_composite(&text);
	}
	for (unsigned i = 0; i < VALUE_DEPTH_MAX; i++)
		buffer_append_string(&wanted, "{'f':");
	buffer_append_string(&wanted, "'(\"(\"\"1\"\")\")'");
	for (unsigned i = 0; i < VALUE_DEPTH_MAX; i++)
		buffer_append_char(&wanted, '}');
	pack_and_write(&types[0], buffer_bytes(&text));
	ok(bytes_equal(buffer_bytes(&written), buffer_bytes(&wanted)), "composites beyond the depth are text");
	buffer_free(&text);
	buffer_free(&wanted);

	const struct type middle = {.kind = TYPE_ARRAY, .delimiter = ',', .element = builtin(OID_INT4_ARRAY)};
	const struct type outer = {.kind = TYPE_ARRAY, .delimiter = ',', .element = &middle};
	packs(&outer, "{{{{{{\"{{{{{{\\\"{{{{1}}}}\\\"}}}}}}\"}}}}}}", "[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]");
	packs(&outer, "{{{{{{\"{{{{{{\\\"{{{{{1}}}}}\\\"}}}}}}\"}}}}}}", "[[[[[[[[[[[['{{{{{1}}}}}']]]]]]]]]]]]");
}

static void test_builtins(void)
{
	ok(builtin(0) == NULL && builtin(16384) == NULL && builtin(12345) == NULL,
	   "other people's types are unknown");
	ok(builtin(71) == NULL && builtin(210) == NULL, "so are row types of the catalog");
	ok(builtin(2249) == NULL && builtin(2287) == NULL, "and pseudo-types");
	ok(builtin(603)->kind == TYPE_TEXT && builtin(OID_BOX_ARRAY)->delimiter == ';',
	   "arrays of box have semicolons");
	ok(builtin(1231)->kind == TYPE_ARRAY && builtin(1231)->element == builtin(OID_NUMERIC), "numeric[]");
	ok(builtin(3807)->element == builtin(OID_JSONB), "jsonb[]");
	ok(builtin(2951)->element->kind == TYPE_TEXT, "uuid[]");
	ok(builtin(600)->kind == TYPE_TEXT && builtin(19)->kind == TYPE_TEXT,
	   "point and name are text, for all their subscripts");
}

int main(void)
{
	test_scalars();
	test_times();
	test_json();
	test_deep_json();
	test_arrays();
	test_vectors();
	test_hstore();
	test_composites();
	test_nesting();
	test_depth();
	test_builtins();
	buffer_free(&written);
	return tap_end();
}
