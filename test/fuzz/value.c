/*
 * value.c: libFuzzer on values of every kind; the input's first byte chooses the type. Whatever the text is,
 * what is packed is one whole MessagePack value that is rendered as JSON, and text that jansson reads as JSON
 * is packed as JSON. Needs src/core and jansson.
 */
#include <jansson.h>
#include <stdlib.h>

#include "core/render/json.h"
#include "core/upstream/value.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

/* A composite that holds all kinds, itself in an array, so that the input can nest; and the scalars. */
static const struct type *choose_type(uint8_t choice)
{
	static const uint32_t oids[] = {16,   17,   20,   22,   23,   25,   114,  701,  1000, 1001,
									1006, 1009, 1020, 1082, 1114, 1184, 1185, 1700, 3802, 3807};
	static const size_t oid_count = COUNT(oids);
	static const struct type hstore = {.kind = TYPE_HSTORE};
	static const struct type hstores = {.kind = TYPE_ARRAY, .delimiter = ',', .element = &hstore};
	static const struct type empty = {.kind = TYPE_COMPOSITE};
	static struct type composite, composites = {.kind = TYPE_ARRAY, .delimiter = ',', .element = &composite};
	static struct type_field fields[4];

	fields[0] = (struct type_field){"json", type_builtin(114)};
	fields[1] = (struct type_field){"bytea", type_builtin(17)};
	fields[2] = (struct type_field){"hstores", &hstores};
	fields[3] = (struct type_field){"nested", &composites};
	composite = (struct type){.kind = TYPE_COMPOSITE, .field_count = 4, .fields = fields};

	const struct type *others[] = {&hstore, &hstores, &empty, &composite, &composites};
	size_t other_count = COUNT(others);
	choice = (uint8_t)(choice % (oid_count + other_count));
	return choice < oid_count ? type_builtin(oids[choice]) : others[choice - oid_count];
}

/* Whether jansson reads it. What PostgreSQL reads and jansson does not counts as neither. */
static bool parse_json(struct bytes text, bool *ret_undecided)
{
	json_error_t error;
	json_t *parsed = json_loadb(text.data, text.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
	*ret_undecided = false;
	if (parsed == NULL) {
		enum json_error_code code = json_error_code(&error);
		*ret_undecided = code == json_error_stack_overflow || code == json_error_invalid_utf8 ||
						 code == json_error_numeric_overflow || code == json_error_null_byte_in_key ||
						 strstr(error.text, "invalid Unicode") != NULL;
	}
	json_decref(parsed);
	return parsed != NULL;
}

static void check_value(const struct type *type, struct bytes text, const msgpack_object *value)
{
	struct buffer json = {0};
	bool undecided;
	json_append_value(&json, value, (struct json_options){0});
	require(!json.failed && memchr(json.data, '\n', json.size) == NULL &&
			memchr(json.data, '\r', json.size) == NULL);
	require(parse_json(buffer_bytes(&json), &undecided) || undecided);
	buffer_free(&json);
	/* jansson takes a NUL for the end */
	if (type->kind == TYPE_JSON && memchr(text.data, 0, text.size) == NULL && parse_json(text, &undecided))
		require(value->type == MSGPACK_OBJECT_EXT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buffer packed = {0};
	msgpack_packer packer;
	msgpack_unpacked unpacked;
	size_t end = 0;

	if (size == 0)
		return 0;
	msgpack_packer_init(&packer, &packed, buffer_msgpack_write);
	const struct type *type = choose_type(data[0]);
	struct bytes text = {(const char *)data + 1, size - 1};
	value_pack(&packer, type, text);
	msgpack_unpacked_init(&unpacked);
	require(msgpack_unpack_next(&unpacked, packed.data, packed.size, &end) == MSGPACK_UNPACK_SUCCESS);
	require(end == packed.size);
	check_value(type, text, &unpacked.data);
	msgpack_unpacked_destroy(&unpacked);
	buffer_free(&packed);
	return 0;
}
