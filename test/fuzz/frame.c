/*
 * frame.c: libFuzzer on the body of a change, any bytes. Its first three bytes choose operation, flags and
 * view. What is read as a body becomes one sound frame and one whole object of MessagePack.
 */
#include <stdlib.h>

#include "core/render/frame.h"
#include "core/render/msgpack_check.h"
#include "core/ring/ring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

static unsigned lines(struct bytes text)
{
	unsigned count = 0;
	for (size_t i = 0; i < text.size; i++)
		count += text.data[i] == '\n';
	return count;
}

static void render(const struct document *document, const struct view *view)
{
	struct buffer out = {0};

	frame_append_change(&out, document, view);
	require(!out.failed && lines(buffer_bytes(&out)) == 4 && frame_is_sound(buffer_bytes(&out)));
	buffer_clear(&out);
	struct document shown = document_shown(document, view);
	document_append_msgpack(&out, &shown, view, DOCUMENT_ITEM);
	require(!out.failed && msgpack_is_whole(buffer_bytes(&out)));
	buffer_free(&out);
	document_matches_tenant(document, BYTES("id"), BYTES("1"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 3)
		return 0;
	struct bytes body = {(const char *)data + 3, size - 3};
	struct change change = {
		.id = {1, 1, 0}, .operation = (enum operation)(data[0] % OPERATION_COUNT), .flags = data[1] % 2u};
	static const struct ring_identity origin = {.database = "d", .slot = "s", .publication = "p"};
	struct view view = {.format = (enum format)(data[2] / 8 % 3),
						.origin = &origin,
						.key_only = data[2] % 8 == 7,
						.numbers_as_strings = data[2] % 2 == 1,
						.column_count = data[2] / 2 % 2};
	view.columns[0] = BYTES("a");
	view.tenant_column = data[1] / 2 % 2 == 1 ? BYTES("b") : BYTES("");
	view.tenant = BYTES("1");
	struct document_reader reader;
	struct document document;

	require(document_reader_init(&reader));
	if (document_read(&reader, &change, BYTES("public"), BYTES("t"), body, &document) == DOCUMENT_READ)
		render(&document, &view);
	document_reader_free(&reader);
	return 0;
}
