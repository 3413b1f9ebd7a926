/*
 * msgpack_check.h: a look at bytes before msgpack-c unpacks them. It allocates what an array or a map claims
 * to hold before it looks for it, so five corrupt bytes could ask for a hundred gigabytes.
 */
#ifndef CHANGEFEED_CORE_RENDER_MSGPACK_CHECK_H
#define CHANGEFEED_CORE_RENDER_MSGPACK_CHECK_H

#include "core/bytes.h"

/*
 * Whether the bytes are exactly one MessagePack object, as far as sizes tell: everything that it claims to
 * hold is there. Unpacking it then takes memory in proportion to the bytes. Source: the MessagePack
 * specification, 'Formats'.
 */
bool msgpack_is_whole(struct bytes bytes);

#endif
