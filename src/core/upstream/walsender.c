/* walsender.c: see walsender.h. */
#include "core/upstream/walsender.h"

#include "core/upstream/wire.h"

const char *walsender_decode(struct bytes copy, struct walsender_message *ret_message)
{
	struct wire wire = wire_of(copy);
	struct walsender_message message = {.type = (enum walsender_type)wire_char(&wire)};

	message.lsn = wire_u64(&wire);
	switch (message.type) {
	case WALSENDER_DATA:
		wire_u64(&wire); /* the end of the server's WAL */
		message.sent_us = wire_time(&wire);
		message.payload = wire_bytes(&wire, wire.left);
		break;
	case WALSENDER_KEEPALIVE:
		message.sent_us = wire_time(&wire);
		message.reply_asked = wire_char(&wire) != 0;
		break;
	default:
		return "neither data nor a keepalive";
	}
	if (wire.truncated)
		return "truncated message of the walsender";
	*ret_message = message;
	return NULL;
}

static char *put_u64(char *to, uint64_t number)
{
	for (int shift = 56; shift >= 0; shift -= 8)
		*to++ = (char)(number >> shift);
	return to;
}

void walsender_status(char ret_status[WALSENDER_STATUS_SIZE], uint64_t received_lsn, uint64_t flushed_lsn,
					  int64_t now_us, bool ask)
{
	char *to = ret_status;

	*to++ = 'r';
	to = put_u64(to, received_lsn);
	to = put_u64(to, flushed_lsn);
	to = put_u64(to, flushed_lsn); /* applied */
	to = put_u64(to, (uint64_t)(now_us - WIRE_EPOCH_US));
	*to = (char)ask;
}
