/*
 * batch.h: poll's answer, a batch of changes and the cursor behind it.
 *
 *   {"changes":[{...},...],"next_cursor":{"since_ms":124,"since_lsn":"42-1"},"has_more":false,"count":1}
 *
 * A gap that the client wants to be told of, and not to fail at, adds `"lagged":12`; a cursor of another
 * history `"reset":true`.
 *
 * As CloudEvents it is an array of events and has no room for a cursor, which the answer's headers carry.
 *
 * Call order: batch_begin -> batch_add* -> batch_end, and again from batch_begin; batch_free at the end.
 * Changes are collected in a buffer of their own and wrapped in batch_end(), because MessagePack writes an
 * array's length in front. Memory is in proportion to the changes added: limit their number and look at
 * batch_size().
 */
#ifndef CHANGEFEED_CORE_RENDER_BATCH_H
#define CHANGEFEED_CORE_RENDER_BATCH_H

#include "core/cursor.h"
#include "core/render/document.h"

enum batch_format { BATCH_JSON, BATCH_MSGPACK, BATCH_CLOUDEVENTS };

/* All zero: an empty batch of JSON. */
struct batch {
	enum batch_format format;
	unsigned count;
	uint64_t lagged; /* changes that are gone, before the first of the batch: a member `lagged` if not 0 */
	bool reset;      /* the cursor was of another history: a member `reset` if true */
	struct buffer changes; /* owned */
};

/* Where the next poll goes on. */
struct batch_cursor {
	int64_t since_ms; /* coarse: changes of one millisecond may be repeated or skipped */
	struct cursor since;
};

/* The content type of a format. */
const char *batch_content_type(enum batch_format format);

void batch_begin(struct batch *batch, enum batch_format format);
void batch_add(struct batch *batch, const struct document *document, const struct view *view);

/* Bytes collected so far. */
size_t batch_size(const struct batch *batch);

/* Appends the whole answer to `out` (another buffer). If memory ran out anywhere since batch_begin,
 * out->failed is set. */
void batch_end(const struct batch *batch, const struct batch_cursor *next, bool has_more, struct buffer *out);

void batch_free(struct batch *batch);

#endif
