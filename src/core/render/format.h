/*
 * format.h: one change in the envelope that the client asked for.
 *
 * Data in: a document, and a view that names the format and the ring's identity. Data out: one JSON object,
 * on one line. In every format a value of a row is what to_jsonb() gives, as in the document.
 *
 *   json         the document (document.h)
 *   debezium     the payload of a change event of Debezium's PostgreSQL connector (its documentation, "Data
 *                change events"), without the schema:
 *                {"before":null,"after":{...},"source":{...},"op":"c","ts_ms":...,"transaction":null}
 *   cloudevents  CloudEvents 1.0 (https://github.com/cloudevents/spec, JSON Event Format), with the document
 *                as its data:
 *                {"specversion":"1.0","id":"42-1","source":"/postgresql/7302/1/app/feed",...,"data":{...}}
 *
 * Where Debezium's event says when and where it was produced, this one says the same whenever it is read: all
 * its times are that of the commit, `lsn` is the commit's, `sequence` the two numbers of the change's id, and
 * `name` the slot. What was not sent because it is TOASTed and unchanged is "__debezium_unavailable_value",
 * as there. A row too large for the ring is null, and a member `oversize` says so. With view->key_only, rows
 * have the key's columns only. A message is `"op":"m","message":{"prefix":...,"content":...}`, the content in
 * base64 always; in a CloudEvent its prefix is the subject.
 */
#ifndef CHANGEFEED_CORE_RENDER_FORMAT_H
#define CHANGEFEED_CORE_RENDER_FORMAT_H

#include "core/render/document.h"

/* Appends the change in view->format. The document is what document_shown() gives for this view, as for all
 * renderers. */
void format_append(struct buffer *out, const struct document *document, const struct view *view,
				   enum document_layout layout);

/* The formats that have a file of their own; for format_append(). */
void format_append_debezium(struct buffer *out, const struct document *document, const struct view *view);
void format_append_cloudevent(struct buffer *out, const struct document *document, const struct view *view);

/*
 * Where the changes come from, as a URI reference: system identifier, timeline, database, slot. After a
 * promotion or a restore an LSN, and so an id, can come again for another change; its timeline is another.
 */
void format_append_origin(struct buffer *out, const struct ring_identity *origin);

#endif
