/*
 * type_builtin.c: the types that PostgreSQL brings along, by OID (PostgreSQL:
 * src/include/catalog/pg_type.dat).
 *
 * Not here, and so left to the catalog: row types of system tables and the domains of information_schema,
 * whose OIDs differ between clusters; pseudo-types, which no column has; types newer than this list.
 */
#include "core/upstream/value.h"

/* A scalar's type <name>, and <name>_array. */
#define SCALAR(name, name_kind)                                                                              \
	static const struct type name = {.kind = (name_kind)};                                                   \
	static const struct type name##_array = {.kind = TYPE_ARRAY, .delimiter = ',', .element = &name}

SCALAR(text, TYPE_TEXT);
SCALAR(boolean, TYPE_BOOL);
SCALAR(integer, TYPE_INTEGER);
SCALAR(bigint, TYPE_BIGINT);
SCALAR(floating, TYPE_FLOAT);
SCALAR(numeric, TYPE_NUMERIC);
SCALAR(bytea, TYPE_BYTEA);
SCALAR(json, TYPE_JSON);
SCALAR(timestamp, TYPE_TIMESTAMP);

static const struct type box_array = {.kind = TYPE_ARRAY, .delimiter = ';', .element = &text};

static const struct type int2vector = {.kind = TYPE_VECTOR, .element = &integer};
static const struct type int2vector_array = {.kind = TYPE_ARRAY, .delimiter = ',', .element = &int2vector};
static const struct type oidvector = {.kind = TYPE_VECTOR, .element = &text};
static const struct type oidvector_array = {.kind = TYPE_ARRAY, .delimiter = ',', .element = &oidvector};

struct builtin {
	uint32_t oid;
	uint32_t array_oid; /* 0: none */
	const struct type *type;
	const struct type *array;
};

#define ROW(oid, array_oid, name)                                                                            \
	{                                                                                                        \
		(oid), (array_oid), &name, &name##_array                                                             \
	}

static const struct builtin builtins[] = {
	ROW(16, 1000, boolean),         /* bool */
	ROW(17, 1001, bytea),           /* bytea */
	ROW(18, 1002, text),            /* char */
	ROW(19, 1003, text),            /* name */
	ROW(20, 1016, bigint),          /* int8 */
	ROW(21, 1005, integer),         /* int2 */
	ROW(22, 1006, int2vector),      /* int2vector */
	ROW(23, 1007, integer),         /* int4 */
	ROW(24, 1008, text),            /* regproc */
	ROW(25, 1009, text),            /* text */
	ROW(26, 1028, text),            /* oid */
	ROW(27, 1010, text),            /* tid */
	ROW(28, 1011, text),            /* xid */
	ROW(29, 1012, text),            /* cid */
	ROW(30, 1013, oidvector),       /* oidvector */
	ROW(114, 199, json),            /* json */
	ROW(142, 143, text),            /* xml */
	ROW(194, 0, text),              /* pg_node_tree */
	ROW(600, 1017, text),           /* point */
	ROW(601, 1018, text),           /* lseg */
	ROW(602, 1019, text),           /* path */
	{603, 1020, &text, &box_array}, /* box */
	ROW(604, 1027, text),           /* polygon */
	ROW(628, 629, text),            /* line */
	ROW(650, 651, text),            /* cidr */
	ROW(700, 1021, floating),       /* float4 */
	ROW(701, 1022, floating),       /* float8 */
	ROW(718, 719, text),            /* circle */
	ROW(774, 775, text),            /* macaddr8 */
	ROW(790, 791, text),            /* money */
	ROW(829, 1040, text),           /* macaddr */
	ROW(869, 1041, text),           /* inet */
	ROW(1033, 1034, text),          /* aclitem */
	ROW(1042, 1014, text),          /* bpchar */
	ROW(1043, 1015, text),          /* varchar */
	ROW(1082, 1182, text),          /* date */
	ROW(1083, 1183, text),          /* time */
	ROW(1114, 1115, timestamp),     /* timestamp */
	ROW(1184, 1185, timestamp),     /* timestamptz */
	ROW(1186, 1187, text),          /* interval */
	ROW(1266, 1270, text),          /* timetz */
	ROW(1560, 1561, text),          /* bit */
	ROW(1562, 1563, text),          /* varbit */
	ROW(1700, 1231, numeric),       /* numeric */
	ROW(1790, 2201, text),          /* refcursor */
	ROW(2202, 2207, text),          /* regprocedure */
	ROW(2203, 2208, text),          /* regoper */
	ROW(2204, 2209, text),          /* regoperator */
	ROW(2205, 2210, text),          /* regclass */
	ROW(2206, 2211, text),          /* regtype */
	ROW(2950, 2951, text),          /* uuid */
	ROW(2970, 2949, text),          /* txid_snapshot */
	ROW(3220, 3221, text),          /* pg_lsn */
	ROW(3361, 0, text),             /* pg_ndistinct */
	ROW(3402, 0, text),             /* pg_dependencies */
	ROW(3614, 3643, text),          /* tsvector */
	ROW(3615, 3645, text),          /* tsquery */
	ROW(3642, 3644, text),          /* gtsvector */
	ROW(3734, 3735, text),          /* regconfig */
	ROW(3769, 3770, text),          /* regdictionary */
	ROW(3802, 3807, json),          /* jsonb */
	ROW(3904, 3905, text),          /* int4range */
	ROW(3906, 3907, text),          /* numrange */
	ROW(3908, 3909, text),          /* tsrange */
	ROW(3910, 3911, text),          /* tstzrange */
	ROW(3912, 3913, text),          /* daterange */
	ROW(3926, 3927, text),          /* int8range */
	ROW(4072, 4073, text),          /* jsonpath */
	ROW(4089, 4090, text),          /* regnamespace */
	ROW(4096, 4097, text),          /* regrole */
	ROW(4191, 4192, text),          /* regcollation */
	ROW(4451, 6150, text),          /* int4multirange */
	ROW(4532, 6151, text),          /* nummultirange */
	ROW(4533, 6152, text),          /* tsmultirange */
	ROW(4534, 6153, text),          /* tstzmultirange */
	ROW(4535, 6155, text),          /* datemultirange */
	ROW(4536, 6157, text),          /* int8multirange */
	ROW(4600, 0, text),             /* pg_brin_bloom_summary */
	ROW(4601, 0, text),             /* pg_brin_minmax_multi_summary */
	ROW(5017, 0, text),             /* pg_mcv_list */
	ROW(5038, 5039, text),          /* pg_snapshot */
	ROW(5069, 271, text),           /* xid8 */
};

const struct type *type_builtin(uint32_t oid)
{
	for (size_t i = 0; oid != 0 && i < COUNT(builtins); i++) {
		if (builtins[i].oid == oid)
			return builtins[i].type;
		if (builtins[i].array_oid == oid)
			return builtins[i].array;
	}
	return NULL;
}
