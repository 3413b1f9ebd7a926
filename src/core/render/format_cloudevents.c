/* format_cloudevents.c: a CloudEvent in JSON; see format.h. */
#include <time.h>

#include "core/msgpack_text.h"
#include "core/percent.h"
#include "core/render/format.h"
#include "core/render/json.h"
#include "core/ring/live.h"

/* A segment of a URI's path (RFC 3986): what is unreserved stays as it is. */
static void append_segment(struct buffer *out, const char *text)
{
	buffer_append_char(out, '/');
	percent_encode(out, bytes_of(text), "-._~");
}

void format_append_origin(struct buffer *out, const struct ring_identity *origin)
{
	buffer_printf(out, "/postgresql/%llu/%u", (unsigned long long)origin->system_identifier,
				  origin->timeline);
	append_segment(out, origin->database);
	append_segment(out, origin->slot);
}

/* RFC 3339, which knows years of four digits only: nothing for others. */
static void append_time(struct buffer *out, int64_t commit_us)
{
	int64_t us = commit_us % 1000000;
	time_t seconds = (time_t)(commit_us / 1000000 - (us < 0));
	struct tm utc;
	char text[sizeof("2009-02-13T23:31:30")];

	if (gmtime_r(&seconds, &utc) == NULL || utc.tm_year < -1900 || utc.tm_year > 9999 - 1900 ||
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc) != sizeof(text) - 1)
		return;
	buffer_append_string(out, ",\"time\":\"");
	buffer_append_string(out, text);
	buffer_printf(out, ".%06dZ", (int)(us < 0 ? us + 1000000 : us));
	buffer_append_char(out, '"');
}

/* The type String of CloudEvents forbids U+0000 to U+001F and U+007F to U+009F. */
static bool has_control_character(struct bytes text)
{
	for (size_t i = 0; i < text.size; i++) {
		unsigned char byte = (unsigned char)text.data[i];
		bool is_second = i > 0 && text.data[i - 1] == '\xC2';
		if (byte < 0x20 || byte == 0x7F || (is_second && byte < 0xA0))
			return true;
	}
	return false;
}

/* schema.table, or a message's prefix, unless it is empty or may not be one. */
static void append_subject(struct buffer *out, const struct document *document)
{
	struct buffer subject = {0};

	if (document->prefix != NULL) {
		buffer_append_bytes(&subject, str_bytes(document->prefix));
	} else if (document->operation != OPERATION_MESSAGE) {
		buffer_append_bytes(&subject, document->schema);
		buffer_append_char(&subject, '.');
		buffer_append_bytes(&subject, document->name);
	}
	out->failed = out->failed || subject.failed;
	if (subject.size > 0 && !has_control_character(buffer_bytes(&subject))) {
		buffer_append_string(out, ",\"subject\":");
		json_append_string(out, buffer_bytes(&subject));
	}
	buffer_free(&subject);
}

void format_append_cloudevent(struct buffer *out, const struct document *document, const struct view *view)
{
	const struct change *change = document->change;

	buffer_append_string(out, "{\"specversion\":\"1.0\",\"id\":\"");
	cursor_append(out, change->id);
	buffer_append_string(out, "\",\"source\":\"");
	format_append_origin(out, view->origin);
	buffer_append_string(out, "\",\"type\":\"pg_changefeed.");
	buffer_append_string(out, operation_event(document->operation));
	buffer_append_char(out, '"');
	append_subject(out, document);
	append_time(out, change->commit_us);
	buffer_append_string(out, ",\"datacontenttype\":\"application/json\",\"data\":");
	document_append_json(out, document, view, DOCUMENT_EVENT);
	buffer_append_char(out, '}');
}
