/*
 * pgoutput.h: decodes the messages of PostgreSQL's logical replication protocol, version 1.
 *
 * Source of the format: PostgreSQL's documentation, "Logical Replication Message Formats"
 * (protocol-logicalrep-message-formats.html). Data in: the payload of one XLogData message. Data out: one
 * struct pgoutput_message whose pointers borrow from that payload and from the caller's column arrays.
 * It keeps no state: what a relation id means is the caller's to remember.
 */
#ifndef CHANGEFEED_CORE_UPSTREAM_PGOUTPUT_H
#define CHANGEFEED_CORE_UPSTREAM_PGOUTPUT_H

#include "core/bytes.h"

enum pgoutput_type {
	PGOUTPUT_BEGIN = 'B',
	PGOUTPUT_COMMIT = 'C',
	PGOUTPUT_ORIGIN = 'O',
	PGOUTPUT_RELATION = 'R',
	PGOUTPUT_TYPE = 'Y',
	PGOUTPUT_INSERT = 'I',
	PGOUTPUT_UPDATE = 'U',
	PGOUTPUT_DELETE = 'D',
	PGOUTPUT_TRUNCATE = 'T',
	PGOUTPUT_MESSAGE = 'M',
};

/* PostgreSQL's MaxTupleAttributeNumber is 1664; a message that claims more columns is malformed. */
enum { PGOUTPUT_COLUMNS_MAX = 1664 };

enum pgoutput_datum_kind {
	PGOUTPUT_NULL = 'n',
	PGOUTPUT_UNCHANGED = 'u', /* a TOASTed value that the UPDATE did not touch */
	PGOUTPUT_TEXT = 't',
};

struct pgoutput_datum {
	enum pgoutput_datum_kind kind;
	struct bytes text; /* PGOUTPUT_TEXT: the type's text output, in the client's encoding */
};

struct pgoutput_tuple {
	bool present;
	bool key_only; /* 'K': only the columns of the replica identity are set, the others are null */
	unsigned column_count;
	struct pgoutput_datum *columns;
};

struct pgoutput_column {
	bool is_identity; /* part of the replica identity */
	struct bytes name;
	uint32_t type_oid;
};

/* The caller's memory for what one message holds; the arrays of PGOUTPUT_COLUMNS_MAX make it about 130 kB. */
struct pgoutput_scratch {
	struct pgoutput_datum old_columns[PGOUTPUT_COLUMNS_MAX];
	struct pgoutput_datum new_columns[PGOUTPUT_COLUMNS_MAX];
	struct pgoutput_column columns[PGOUTPUT_COLUMNS_MAX];
};

struct pgoutput_message {
	enum pgoutput_type type;
	union {
		struct {
			uint64_t commit_lsn; /* the field that the documentation calls 'final LSN' */
			int64_t commit_us;   /* microseconds since 1970, not since 2000 */
			uint32_t xid;
		} begin;
		struct {
			uint64_t commit_lsn;
			uint64_t end_lsn;
			int64_t commit_us;
		} commit;
		struct {
			uint32_t oid;
			struct bytes schema; /* never empty: the empty string of the protocol becomes pg_catalog */
			struct bytes name;
			struct bytes raw_name; /* schema and name as they were sent, each with its 0 */
			char replica_identity; /* 'd', 'n', 'f', 'i' as in pg_class.relreplident */
			unsigned column_count;
			struct pgoutput_column *columns;
		} relation;
		struct {
			uint32_t oid;
			struct pgoutput_tuple old_row;
			struct pgoutput_tuple new_row;
		} row; /* INSERT, UPDATE, DELETE */
		struct {
			unsigned relation_count;
			struct bytes oids; /* relation_count big-endian Int32; see pgoutput_truncated() */
		} truncate;
		struct {
			bool transactional;
			uint64_t lsn; /* the end of its record: what pg_logical_emit_message() returned */
			struct bytes prefix;
			struct bytes content;
		} message;
	};
};

/*
 * Decodes one message. Returns NULL, or what is wrong with it as a constant text ("truncated tuple"); then
 * *ret_message is unspecified. ORIGIN and TYPE are recognised and carry nothing. Blocks never, allocates
 * nothing.
 */
const char *pgoutput_decode(struct bytes payload, struct pgoutput_scratch *scratch,
							struct pgoutput_message *ret_message);

/* The i-th relation of a TRUNCATE message, i < relation_count. */
uint32_t pgoutput_truncated(const struct pgoutput_message *message, unsigned i);

#endif
