/*
 * value_kinds.h: value_pack(), kind by kind. For the value*.c of this directory only.
 *
 * Each value_pack_<kind>() packs one value and returns true, or returns false without having packed anything
 * when the text does not have the kind's form. `depth` is the number of arrays and maps around the value,
 * inside of the column's own value. MessagePack writes a container's length in front, and what was packed
 * cannot be taken back: so a container's text is read twice, first to check and count, then to pack.
 */
#ifndef CHANGEFEED_CORE_UPSTREAM_VALUE_KINDS_H
#define CHANGEFEED_CORE_UPSTREAM_VALUE_KINDS_H

#include "core/upstream/nested_text.h"
#include "core/upstream/value.h"

/* Packs a value of any kind; as str if it does not have its type's form. */
void value_pack_nested(msgpack_packer *out, const struct type *type, struct nested_text text, unsigned depth);

/* '{1,NULL,"a b"}', '[0:1][5:5]={{1},{2}}' (array_out) */
bool value_pack_array(msgpack_packer *out, const struct type *type, struct nested_text text, unsigned depth);

/* '1 2 3' (int2vectorout, oidvectorout) */
bool value_pack_vector(msgpack_packer *out, const struct type *type, struct nested_text text, unsigned depth);

/* '(1,,"a ""b""")' (record_out) */
bool value_pack_composite(msgpack_packer *out, const struct type *type, struct nested_text text,
						  unsigned depth);

/* '"a"=>"1", "b"=>NULL' (hstore_out) */
bool value_pack_hstore(msgpack_packer *out, struct nested_text text, unsigned depth);

/* JSON (RFC 8259); as it is, or without white space outside of strings if there is a line break in it or the
 * text is escaped. */
bool value_pack_json(msgpack_packer *out, struct nested_text text);

/* Takes off a number as JSON writes it. Returns false if there is none; then `text` is unspecified. */
bool value_take_number(struct nested_text *text);

#endif
