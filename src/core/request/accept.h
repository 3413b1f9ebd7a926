/*
 * accept.h: which of two types of a document a client prefers, by its Accept headers.
 *
 * Data in: values of Accept (RFC 9110, section 12.5.1). Data out: whether MessagePack is wanted. It has to be
 * named and to weigh no less than JSON: a client that takes anything gets JSON. What is malformed is never
 * an error, because there is always JSON to answer with: a weight counts as far as it is a number.
 */
#ifndef CHANGEFEED_CORE_REQUEST_ACCEPT_H
#define CHANGEFEED_CORE_REQUEST_ACCEPT_H

#include "core/bytes.h"

/* What has been said so far, weights in thousandths. Begins as {0}. */
struct accept {
	unsigned msgpack;
	unsigned json;
	/* how closely: 0 nothing matched yet, 1 by any type, 2 by application/any, 3 by name */
	unsigned json_range;
};

/* Takes in one header's value. A client may send several: they are one list. */
void accept_add(struct accept *accept, struct bytes value);

bool accept_prefers_msgpack(const struct accept *accept);

#endif
