/*
 * msgpack_text.h: text and booleans, into MessagePack and out of it.
 */
#ifndef CHANGEFEED_CORE_MSGPACK_TEXT_H
#define CHANGEFEED_CORE_MSGPACK_TEXT_H

#include <msgpack.h>

#include "core/bytes.h"

/* The bytes of a str, borrowed. */
static inline struct bytes str_bytes(const msgpack_object *str)
{
	return (struct bytes){str->via.str.ptr, str->via.str.size};
}

/* The bytes of a bin, borrowed. */
static inline struct bytes bin_bytes(const msgpack_object *bin)
{
	return (struct bytes){bin->via.bin.ptr, bin->via.bin.size};
}

static inline void pack_str(msgpack_packer *packer, struct bytes text)
{
	msgpack_pack_str_with_body(packer, text.data, text.size);
}

static inline void pack_bool(msgpack_packer *packer, bool value)
{
	if (value)
		msgpack_pack_true(packer);
	else
		msgpack_pack_false(packer);
}

#endif
