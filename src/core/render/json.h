/*
 * json.h: the one writer of JSON (RFC 8259). Whatever goes into JSON or SSE goes through here.
 *
 * Data in: text, and values as value.h packs them. Data out: JSON without insignificant white space, appended
 * to a buffer. The output never holds a raw CR or LF, so that it can be a line of an SSE frame or of NDJSON
 * as it is.
 *
 * Text is expected to be UTF-8. A database with the encoding SQL_ASCII can hold anything, though: each byte
 * that is not part of a well-formed sequence (RFC 3629) becomes U+FFFD. Pure ASCII pays nothing for that.
 *
 * It deliberately knows nothing of changes and documents, and does not parse JSON.
 */
#ifndef CHANGEFEED_CORE_RENDER_JSON_H
#define CHANGEFEED_CORE_RENDER_JSON_H

#include <msgpack.h>

#include "core/bytes.h"

struct json_options {
	bool numbers_as_strings; /* VALUE_BIGINT and VALUE_NUMERIC in quotes, for readers whose numbers are
								doubles */
	bool (*takes_json)(struct bytes json); /* whether the reader takes a VALUE_JSON; one that it does not take
											  is a string of its text. NULL: it takes all */
};

/* Appends a string with its quotes. Escapes ", \ and everything below 0x20 (\b \f \n \r \t in their short
 * form). */
void json_append_string(struct buffer *out, struct bytes text);

/* Appends a string of base64 (RFC 4648, section 4). */
void json_append_base64(struct buffer *out, struct bytes value);

/*
 * Appends a value of value.h: bin as "\\x" and hexadecimal digits, as bytea's text output; the extensions as
 * the JSON that they hold, where control characters (line breaks and tabs between tokens, if the JSON is
 * valid) become spaces. What value.h never packs is still JSON: a non-finite float64 and an unknown extension
 * are null, the name of a map's member that is no str is empty.
 */
void json_append_value(struct buffer *out, const msgpack_object *value, struct json_options options);

/* One member of an object: its name, a colon, its value. */
void json_append_member(struct buffer *out, const msgpack_object_kv *member, struct json_options options);

#endif
