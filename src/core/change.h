/*
 * change.h: one change of one row, between the feed that makes it and the renderers that send it.
 *
 * What a stream is filtered by is in `struct change`; the row is in the body, MessagePack, an array of six:
 *   0 document_id   str, or nil where there is no key
 *   1 key           array of str: the names of the key's columns, in the key's order
 *   2 new           map column name -> value (value.h), or nil
 *   3 old           map column name -> value, or nil
 *   4 unchanged     array of str: columns left out of `new`, because an unchanged TOAST value is not sent
 *   5 old_id        str: document_id before the change, where the change has set another
 *
 * Elements at the end that are nil or empty may be missing (a TRUNCATE's body is an empty array). A body is
 * self-contained, so that a change is rendered with the columns it was written with, whatever DDL came later.
 *
 * A message is handled as a change that belongs to no table; its body is an array of two:
 *   0 prefix        str
 *   1 content       str where it is UTF-8, else bin
 */
#ifndef CHANGEFEED_CORE_CHANGE_H
#define CHANGEFEED_CORE_CHANGE_H

#include "core/bytes.h"
#include "core/cursor.h"

enum operation {
	OPERATION_INSERT,
	OPERATION_UPDATE,
	OPERATION_DELETE,
	OPERATION_TRUNCATE,
	OPERATION_MESSAGE
};

enum { OPERATION_COUNT = 5 };

/* A set of operations: bit 1 << operation. */
enum {
	OPERATIONS_ALL = (1 << OPERATION_COUNT) - 1,
	OPERATIONS_MESSAGE = 1 << OPERATION_MESSAGE,
	OPERATIONS_ROWS = OPERATIONS_ALL & ~OPERATIONS_MESSAGE, /* what belongs to a table */
};

#define COLLECTION_NONE UINT32_MAX

enum change_flag {
	CHANGE_OVERSIZE = 1, /* the row did not fit a quarter of the ring: `new` and `old` are left out */
};

struct change {
	struct cursor id;
	int64_t commit_us;   /* microseconds since 1970 */
	uint32_t xid;        /* PostgreSQL's 32-bit transaction id; 0: a message that belongs to none */
	uint32_t collection; /* an index into the ring's table of collections; COLLECTION_NONE of a message */
	enum operation operation;
	unsigned flags;
};

enum {
	BODY_DOCUMENT_ID,
	BODY_KEY,
	BODY_NEW,
	BODY_OLD,
	BODY_UNCHANGED,
	BODY_OLD_ID,
	BODY_SIZE,
};

enum { MESSAGE_PREFIX, MESSAGE_CONTENT, MESSAGE_SIZE };

/* The commit time in milliseconds since 1970, rounded down. */
int64_t change_timestamp_ms(const struct change *change);

/* INSERT, ... as in `operation`, and insert, ... as in `event`. */
const char *operation_name(enum operation operation);
const char *operation_event(enum operation operation);

/* The operation of this name in lower case. Returns false, *ret_operation untouched, if there is none. */
bool operation_parse(struct bytes name, enum operation *ret_operation);

#endif
