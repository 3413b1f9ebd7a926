/*
 * example_body.h: bodies of changes for tests, packed as the feed packs them.
 */
#ifndef CHANGEFEED_TEST_UNIT_EXAMPLE_BODY_H
#define CHANGEFEED_TEST_UNIT_EXAMPLE_BODY_H

#include <msgpack.h>

#include "core/change.h"
#include "core/upstream/value.h"

/* A body being packed: body_begin, then its elements in the order of change.h. The buffer is the caller's to
 * free. */
struct body {
	struct buffer bytes;
	msgpack_packer packer;
};

__attribute__((unused)) static void body_str(struct body *body, const char *text)
{
	msgpack_pack_str_with_body(&body->packer, text, strlen(text));
}

__attribute__((unused)) static void body_extension(struct body *body, enum value_extension type,
												   const char *text)
{
	msgpack_pack_ext_with_body(&body->packer, text, strlen(text), (int8_t)type);
}

/* Starts a body of `elements` elements with its document id and one key column. */
__attribute__((unused)) static void body_begin(struct body *body, unsigned elements, const char *document_id,
											   const char *key)
{
	body->bytes = (struct buffer){0};
	msgpack_packer_init(&body->packer, &body->bytes, buffer_msgpack_write);
	msgpack_pack_array(&body->packer, elements);
	body_str(body, document_id);
	msgpack_pack_array(&body->packer, 1);
	body_str(body, key);
}

/* A row of five columns of the types that differ in JSON and MessagePack. */
__attribute__((unused)) static void body_user_row(struct body *body, const char *id, const char *name)
{
	msgpack_pack_map(&body->packer, 5);
	body_str(body, "id");
	body_str(body, id);
	body_str(body, "name");
	body_str(body, name);
	body_str(body, "age");
	msgpack_pack_int(&body->packer, 36);
	body_str(body, "visits");
	body_extension(body, VALUE_BIGINT, "9007199254740993");
	body_str(body, "tags");
	body_extension(body, VALUE_JSON, "{\"a\": [1, 2.5, \"x\"]}");
}

/* An INSERT into users. */
__attribute__((unused)) static struct buffer example_insert(const char *id, const char *name)
{
	struct body body;
	body_begin(&body, 3, id, "id");
	body_user_row(&body, id, name);
	return body.bytes;
}

/* An UPDATE of users with an old row and an unchanged column. */
__attribute__((unused)) static struct buffer example_update(void)
{
	struct body body;
	body_begin(&body, 5, "u1", "id");
	body_user_row(&body, "u1", "Ada");
	msgpack_pack_map(&body.packer, 2);
	body_str(&body, "id");
	body_str(&body, "u1");
	body_str(&body, "name");
	body_str(&body, "Augusta");
	msgpack_pack_array(&body.packer, 1);
	body_str(&body, "biography");
	return body.bytes;
}

/* A message: the array [prefix, content]. */
__attribute__((unused)) static struct buffer example_message(const char *prefix, struct bytes content,
															 bool is_text)
{
	struct buffer bytes = {0};
	msgpack_packer packer;

	msgpack_packer_init(&packer, &bytes, buffer_msgpack_write);
	msgpack_pack_array(&packer, 2);
	msgpack_pack_str_with_body(&packer, prefix, strlen(prefix));
	if (is_text)
		msgpack_pack_str_with_body(&packer, content.data, content.size);
	else
		msgpack_pack_bin_with_body(&packer, content.data, content.size);
	return bytes;
}

__attribute__((unused)) static struct change example_change(enum operation operation)
{
	return (struct change){.id = {23987096, 1, 0},
						   .commit_us = 1234567890123456,
						   .xid = 745,
						   .collection = 0,
						   .operation = operation};
}

#endif
