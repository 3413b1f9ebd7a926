/* frame.c: see frame.h. */
#include "core/render/frame.h"

#include <assert.h>

#include "core/render/format.h"
#include "core/render/json.h"

static void append_id(struct buffer *out, struct cursor id)
{
	buffer_append_string(out, "id: ");
	cursor_append(out, id);
	buffer_append_char(out, '\n');
}

static void append_event(struct buffer *out, const char *event)
{
	buffer_append_string(out, "event: ");
	buffer_append_string(out, event);
	buffer_append_string(out, "\ndata: ");
}

void frame_append_start(struct buffer *out, unsigned retry_ms, struct cursor from)
{
	buffer_append_string(out, "retry: ");
	buffer_append_u64(out, retry_ms);
	buffer_append_char(out, '\n');
	append_id(out, from);
	buffer_append_char(out, '\n');
}

static bool is_one_line(const struct buffer *out, size_t from)
{
	return memchr(out->data + from, '\n', out->size - from) == NULL &&
		   memchr(out->data + from, '\r', out->size - from) == NULL;
}

void frame_append_change(struct buffer *out, const struct document *document, const struct view *view)
{
	struct document shown = document_shown(document, view);

	append_id(out, document->change->id);
	append_event(out, operation_event(shown.operation));
	size_t from = out->size;
	format_append(out, &shown, view, DOCUMENT_EVENT);
	assert(out->failed || is_one_line(out, from));
	buffer_append_string(out, "\n\n");
}

void frame_append_keepalive(struct buffer *out, struct cursor at)
{
	append_id(out, at);
	buffer_append_char(out, '\n');
}

void frame_append_warning(struct buffer *out, uint64_t lagged, struct cursor from)
{
	append_id(out, from);
	append_event(out, "warning");
	buffer_append_string(out, "lagged ");
	buffer_append_u64(out, lagged);
	buffer_append_string(out, " events\n\n");
}

void frame_append_reset(struct buffer *out, struct bytes reason, struct cursor oldest)
{
	append_id(out, oldest);
	append_event(out, "reset");
	buffer_append_string(out, "{\"reason\":");
	json_append_string(out, reason);
	buffer_append_string(out, ",\"oldest\":\"");
	cursor_append(out, oldest);
	buffer_append_string(out, "\"}\n\n");
}

void frame_append_unpublished(struct buffer *out, struct bytes schema, struct bytes name)
{
	append_event(out, "unpublished");
	buffer_append_string(out, "{\"collection\":");
	json_append_string(out, name);
	buffer_append_string(out, ",\"schema\":");
	json_append_string(out, schema);
	buffer_append_string(out, "}\n\n");
}

/* The bit of a line's field, or 0 if it is none that a frame may have. */
static unsigned field_of(struct bytes line)
{
	static const char *const fields[] = {"id: ", "event: ", "data: ", "retry: "};
	for (unsigned i = 0; i < COUNT(fields); i++) {
		size_t size = strlen(fields[i]);
		if (line.size > size && memcmp(line.data, fields[i], size) == 0)
			return 1u << i;
	}
	return 0;
}

bool frame_is_sound(struct bytes frames)
{
	unsigned seen = 0;

	if (frames.size == 0 || memchr(frames.data, '\r', frames.size) != NULL ||
		memchr(frames.data, '\0', frames.size) != NULL)
		return false;
	while (frames.size > 0) {
		const char *end = memchr(frames.data, '\n', frames.size);
		if (end == NULL)
			return false;
		struct bytes line = {frames.data, (size_t)(end - frames.data)};
		unsigned field = line.size == 0 ? 0 : field_of(line);
		if (line.size == 0 ? seen == 0 : field == 0 || (seen & field) != 0)
			return false;
		seen = line.size == 0 ? 0 : seen | field;
		frames = (struct bytes){end + 1, frames.size - line.size - 1};
	}
	return seen == 0;
}
