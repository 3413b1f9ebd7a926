/*
 * identifier.h: a name as SQL wants it, for statements that people are told to run.
 */
#ifndef CHANGEFEED_CORE_REQUEST_IDENTIFIER_H
#define CHANGEFEED_CORE_REQUEST_IDENTIFIER_H

#include "core/bytes.h"

/* Appends `name`, in double quotes unless it means the same without them. */
void identifier_append(struct buffer *out, struct bytes name);

#endif
