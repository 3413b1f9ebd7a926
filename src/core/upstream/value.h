/*
 * value.h: from PostgreSQL's text output of a value to MessagePack, such that what is rendered from it later
 * is what to_jsonb() gives (PostgreSQL: src/backend/utils/adt/jsonb.c, datum_to_jsonb; the rules of dates are
 * in json.c, JsonEncodeDateTime).
 *
 * A column's type is a small immutable tree. Types of PostgreSQL itself come from type_builtin(); for all
 * others the feed asks the catalog and builds a tree (feed/catalog).
 *
 * In MessagePack: null is nil, boolean is bool, int2 and int4 are integers, bytea is bin, arrays are arrays,
 * composites and hstore are maps, text and everything else str. What MessagePack has no exact form for is an
 * extension whose payload is text:
 *
 *   VALUE_BIGINT    int8: decimal digits
 *   VALUE_FLOAT     float4, float8: a JSON number in PostgreSQL's shortest form
 *   VALUE_NUMERIC   numeric: a JSON number with all its digits
 *   VALUE_JSON      json, jsonb: JSON text without insignificant line breaks
 *
 * NaN and the infinities of these types are str, as in to_jsonb.
 *
 * The text is what PostgreSQL writes with DateStyle=ISO, IntervalStyle=postgres, extra_float_digits=3,
 * bytea_output=hex, TimeZone=UTC and client_encoding=UTF8; the feed's connection pins these.
 */
#ifndef CHANGEFEED_CORE_UPSTREAM_VALUE_H
#define CHANGEFEED_CORE_UPSTREAM_VALUE_H

#include <msgpack.h>

#include "core/bytes.h"

enum value_extension { VALUE_BIGINT = 1, VALUE_FLOAT = 2, VALUE_NUMERIC = 3, VALUE_JSON = 4 };

enum type_kind {
	TYPE_TEXT, /* everything that to_jsonb gives as a string of its text output */
	TYPE_BOOL,
	TYPE_INTEGER, /* int2, int4 */
	TYPE_BIGINT,
	TYPE_FLOAT,
	TYPE_NUMERIC,
	TYPE_BYTEA,
	TYPE_JSON,
	TYPE_TIMESTAMP, /* with and without time zone */
	TYPE_HSTORE,    /* contrib: its cast to json makes an object of strings */
	TYPE_ARRAY,
	TYPE_VECTOR, /* int2vector, oidvector: arrays whose text is another */
	TYPE_COMPOSITE,
};

/* How deep arrays and maps nest in one value; each dimension of an array counts. Half of what msgpack-c can
 * read. */
enum { VALUE_DEPTH_MAX = 16 };

struct type;

struct type_field {
	const char *name;
	const struct type *type;
};

struct type {
	enum type_kind kind;
	char delimiter;             /* TYPE_ARRAY: pg_type.typdelim of the element, ',' except for box */
	const struct type *element; /* TYPE_ARRAY, TYPE_VECTOR */
	unsigned field_count;       /* TYPE_COMPOSITE */
	const struct type_field *fields;
};

/*
 * The type with this OID, if it is one of PostgreSQL's own base types, ranges and multiranges, or an array of
 * one (src/include/catalog/pg_type.dat, whose OIDs never change). NULL: ask the catalog. The result lives
 * forever.
 */
const struct type *type_builtin(uint32_t oid);

/*
 * Packs one value given as the type's text output. A text that does not have the type's form (a type changed
 * under us, a locale's oddity) is packed as str of the whole text: never an error, never null. What is nested
 * deeper than VALUE_DEPTH_MAX is a str of its text. Allocates nothing; what the packer's write callback
 * returns is not looked at: a struct buffer remembers for itself that it has failed.
 */
void value_pack(msgpack_packer *out, const struct type *type, struct bytes text);

#endif
