/*
 * walsender.c: libFuzzer on what the walsender sends, down to the message inside. Whatever comes is refused with
 * a reason, or lies within what came. Needs src/core only.
 */
#include <stdlib.h>

#include "core/upstream/pgoutput.h"
#include "core/upstream/walsender.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct pgoutput_scratch scratch;
	struct bytes copy = {(const char *)data, size};
	struct walsender_message message;
	struct pgoutput_message inside;

	if (walsender_decode(copy, &message) != NULL || message.type != WALSENDER_DATA)
		return 0;
	if (message.payload.size >= size || message.payload.data + message.payload.size > copy.data + size)
		abort();
	pgoutput_decode(message.payload, &scratch, &inside);
	return 0;
}
