/*
 * frame.h: Server-Sent Events, byte by byte (WHATWG HTML, section 9.2 'Server-sent events').
 *
 * Data in: documents and cursors. Data out: whole frames, appended to a buffer; each ends with an empty line.
 *
 *   start       retry: 3000 / id: 23987096
 *   change      id: 23987096-1 / event: insert / data: {...}
 *   keep-alive  id: 23990000
 *   warning     id: 23987096-1 / event: warning / data: lagged 12 events
 *   reset       id: 23987096 / event: reset / data: {"reason":"...","oldest":"23987096"}
 *   unpublished event: unpublished / data: {"collection":"users","schema":"public"}
 *
 * A frame without data fires no event, but still moves EventSource's last event id: 'dispatch the event'
 * (9.2.6) sets it before it looks whether the data buffer is empty. The id of a warning or a reset is the
 * cursor from which the stream goes on, so that a client which reconnects after it does not get it again.
 *
 * Invariant: no field's value holds a raw CR or LF, see frame_is_sound(). The stream is UTF-8 by definition.
 */
#ifndef CHANGEFEED_CORE_RENDER_FRAME_H
#define CHANGEFEED_CORE_RENDER_FRAME_H

#include "core/cursor.h"
#include "core/render/document.h"

/* The first bytes of a stream. `retry_ms` is how long the client waits before it reconnects. */
void frame_append_start(struct buffer *out, unsigned retry_ms, struct cursor from);

void frame_append_change(struct buffer *out, const struct document *document, const struct view *view);
void frame_append_keepalive(struct buffer *out, struct cursor at);

/* A gap of `lagged` changes; the stream goes on behind `from`. */
void frame_append_warning(struct buffer *out, uint64_t lagged, struct cursor from);

/* The client's cursor belongs to another history; the stream goes on with the oldest there is. `reason` is
 * for people. */
void frame_append_reset(struct buffer *out, struct bytes reason, struct cursor oldest);

/* A collection that the stream named has left the publication; the client's last event id stays as it is. */
void frame_append_unpublished(struct buffer *out, struct bytes schema, struct bytes name);

/*
 * Whether these bytes are one or more whole frames of the fields id, event, data and retry, each at most once
 * in a frame, with no CR and no NUL anywhere. For assertions and tests.
 */
bool frame_is_sound(struct bytes frames);

#endif
