/*
 * percent.h: percent-encoding (RFC 3986, section 2.1).
 */
#ifndef CHANGEFEED_CORE_PERCENT_H
#define CHANGEFEED_CORE_PERCENT_H

#include "core/bytes.h"

/* Encodes all but letters, digits and the characters of `plain`. */
void percent_encode(struct buffer *out, struct bytes text, const char *plain);

/* Decodes %XX. Returns false, with less than all appended, if one is broken. */
bool percent_decode(struct buffer *out, struct bytes text, bool plus_is_space);

#endif
