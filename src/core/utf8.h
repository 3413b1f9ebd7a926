/*
 * utf8.h: what is well-formed UTF-8 (RFC 3629, section 4: no overlong forms, no surrogates, nothing above
 * U+10FFFF).
 */
#ifndef CHANGEFEED_CORE_UTF8_H
#define CHANGEFEED_CORE_UTF8_H

#include "core/bytes.h"

/* U+FFFD, for what is not well-formed or has no equivalent. */
#define UTF8_REPLACEMENT "\xEF\xBF\xBD"

/* The length, 1 to 4, of the well-formed sequence at the start of `text`; 0 if there is none. */
size_t utf8_sequence(struct bytes text);

bool utf8_valid(struct bytes text);

/* The length of `text` without the character that was cut off at its end, if one was. */
size_t utf8_whole(struct bytes text);

#endif
