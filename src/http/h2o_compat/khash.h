/*
 * khash.h: the header that <h2o/http2_internal.h> includes and that distributions of libh2o do not ship. Its
 * tables are only pointed to here; the lookup, of which nothing is defined, would not link.
 */
#ifndef CHANGEFEED_HTTP_H2O_COMPAT_KHASH_H
#define CHANGEFEED_HTTP_H2O_COMPAT_KHASH_H

#include <stdint.h>

typedef uint32_t khiter_t;

khiter_t khash_find(const void *table, uint64_t key);

#define khash_t(name) struct khash_##name
#define KHASH_MAP_INIT_INT64(name, type)                                                                     \
	khash_t(name)                                                                                            \
	{                                                                                                        \
		khiter_t end;                                                                                        \
		type *values;                                                                                        \
	};

#define kh_get(name, table, key) khash_find(table, key)
#define kh_end(table)            ((table)->end)
#define kh_val(table, at)        ((table)->values[at])

#endif
