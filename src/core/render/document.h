/*
 * document.h: the document of one change, as clients see it; the same for SSE, poll and the SQL functions.
 *
 * Data in: a change, its collection's names, its body (change.h). Data out: JSON or MessagePack, appended to
 * a buffer. A body is read once, then asked for its tenant and rendered as often as there are views:
 *
 *   {"collection":"users","operation":"UPDATE","document_id":"u1","timestamp_ms":1234567890123,"lsn":23987096,
 *    "id":"23987096-1","schema":"public","xid":745,"new":{...},"old":{...},"unchanged":["biography"]}
 *
 *   new         INSERT and UPDATE
 *   old         UPDATE and DELETE, if the replica identity gave it
 *   unchanged   if not empty
 *   oversize    true, and no new, old, unchanged: the row was too large for the ring. Whose it was is not
 *               known any more: with tenants, document_id is null, and it is everybody's. So is an UPDATE
 *               whose tenant is an unchanged TOAST value, which PostgreSQL does not send
 *
 * A message is a document of its own:
 *
 *   {"collection":null,"operation":"MESSAGE","document_id":null,"timestamp_ms":1234567890123,"lsn":23987096,
 *    "id":"23987096-0","schema":null,"xid":745,"transactional":true,"prefix":"jobs","content":"done"}
 *
 *   xid         null if the message belongs to no transaction
 *   base64      true where `content` is not UTF-8 and given in base64
 *   prefix, content   not if the message was too large for the ring; with key_only the content is left out
 *
 * `lsn` is the commit LSN. `timestamp_ms` is rounded down, before 1970 too. In a batch of poll `collection`
 * comes behind `lsn`.
 *
 * In MessagePack the document is the same. What JSON writes with all its digits becomes what a program wants:
 * int8 an integer, float8 a float64, numeric a str always (so that its type does not depend on its value),
 * bytea stays bin; json becomes native maps and arrays, where an integer beyond int64, and a number whose
 * digits float64 does not give back, is a str of its digits. A message's content that is not UTF-8 is bin,
 * without `base64`. JSON that could not be given whole (a member that comes twice, \u0000 in a member's name,
 * lone surrogates, nested too deep) stays a str of its text.
 *
 * Invariant: a body of any bytes is either read or refused, with memory in proportion to its size.
 */
#ifndef CHANGEFEED_CORE_RENDER_DOCUMENT_H
#define CHANGEFEED_CORE_RENDER_DOCUMENT_H

#include <msgpack.h>

#include "core/bytes.h"
#include "core/change.h"

enum { VIEW_COLUMNS_MAX = 64 };

/* The envelopes of format.h. */
enum format { FORMAT_JSON, FORMAT_DEBEZIUM, FORMAT_CLOUDEVENTS };

struct ring_identity;

/* What of a change a client wants and may see, and in which form. All zero: everything, in JSON. */
struct view {
	enum format format;
	const struct ring_identity *origin;     /* for the formats that name it. Borrowed */
	bool key_only;                          /* leaves out new, old, unchanged and content */
	struct bytes tenant_column;             /* empty: there are no tenants. Borrowed */
	struct bytes tenant;                    /* whose view it is. Borrowed */
	bool numbers_as_strings;                /* int8 and numeric of rows; `lsn` stays a number */
	unsigned column_count;                  /* 0: all columns */
	struct bytes columns[VIEW_COLUMNS_MAX]; /* exact names; columns of the key always stay. Borrowed */
};

enum document_layout {
	DOCUMENT_EVENT, /* collection first: SSE */
	DOCUMENT_ITEM,  /* collection behind lsn: an element of poll's `changes` */
};

/* The memory that documents are read into. Used again and again, it allocates nothing for a body of usual
 * size. */
struct document_reader {
	msgpack_zone zone;
};

/* A change whose body has been read. Borrows from the change, the names, the body, and the reader. */
struct document {
	const struct change *change;
	enum operation operation; /* the change's, or what it is to a tenant: see document_shown() */
	struct bytes schema;
	struct bytes name;
	const msgpack_object *document_id; /* str, or NULL */
	const msgpack_object *old_id;      /* str: the document_id before the change, or NULL if it is the same */
	const msgpack_object *key;         /* array of str, or NULL */
	const msgpack_object *new_row;     /* map, or NULL */
	const msgpack_object *old_row;     /* map, or NULL */
	const msgpack_object *unchanged;   /* array of str, not empty, or NULL */
	const msgpack_object *prefix;      /* str, or NULL; of messages only */
	const msgpack_object *content;     /* str or bin, or NULL */
	bool oversize;                     /* told without its rows, and everybody's */
};

/* Returns false out of memory; there is nothing to free then. */
bool document_reader_init(struct document_reader *reader);
void document_reader_free(struct document_reader *reader);

enum document_read {
	DOCUMENT_READ,
	DOCUMENT_MALFORMED, /* the bytes are no such body: corruption, the feed never writes one */
	DOCUMENT_NO_MEMORY,
};

/*
 * Reads a body; an empty one is that of a change without a row. The document is valid until the reader's next
 * call, and as long as what it borrows from. *ret_document is untouched unless it is DOCUMENT_READ.
 */
enum document_read document_read(struct document_reader *reader, const struct change *change,
								 struct bytes schema, struct bytes name, struct bytes body,
								 struct document *ret_document);

enum { OWNER_TEXT_MAX = 260 }; /* a tenant has at most 256 bytes */

/* Whose a change is, as texts of the tenant column; empty where there is no row. */
struct owners {
	bool everybody;
	struct bytes before; /* the row before the change */
	struct bytes after;
	char memory[2][OWNER_TEXT_MAX]; /* of the texts that the document does not have */
};

/* *ret_owners borrows from the document, and from itself. */
void document_owners(const struct document *document, struct bytes tenant_column, struct owners *ret_owners);

/*
 * Whether a tenant sees this change: if the tenant column's value, as text, is `tenant` in `new` or in `old`.
 * So an UPDATE that moves a row to another tenant is seen by both. A row without the column, or with null, an
 * array or an object there, belongs to tenant "1". That includes a DELETE whose replica identity lacks the
 * column; of an UPDATE, such an old row is taken to have been the tenant's that has the new one. A change
 * without rows (TRUNCATE, a message, an oversize row) concerns every tenant, as does one whose tenant is not
 * known because it is an unchanged TOAST value.
 */
bool document_matches_tenant(const struct document *document, struct bytes tenant_column,
							 struct bytes tenant);

/* The bytes of a message's content. */
struct bytes document_content_bytes(const msgpack_object *content);

/*
 * What the view shows of a document, which the renderers below and in format.h then render: with key_only
 * neither rows (but for those of the key in Debezium's format) nor content. An UPDATE that moves a row to
 * another tenant is a DELETE to the one and an INSERT to the other, as with row filters of PostgreSQL. A change
 * that every tenant sees though it is one tenant's has neither rows nor document_id: the row was too large for
 * the ring, and its tenant is no longer known; or it is an UPDATE whose tenant is an unchanged TOAST value,
 * which PostgreSQL does not send.
 */
struct document document_shown(const struct document *document, const struct view *view);

/* Whether the view shows a column (a str of the body); with key_only, only the key's are shown. */
bool document_shows(const struct document *document, const struct view *view, const msgpack_object *column);

/* Renders what document_shown() gave for this view. */
void document_append_json(struct buffer *out, const struct document *document, const struct view *view,
						  enum document_layout layout);

/* The same in MessagePack. */
void document_append_msgpack(struct buffer *out, const struct document *document, const struct view *view,
							 enum document_layout layout);

#endif
