/*
 * encoding.h: text of a database in its own encoding -> UTF-8, without a byte that could stop the feed.
 *
 * PostgreSQL refuses to send a row with a byte that has no equivalent in UTF-8 (0x81 in WIN1252, say), and
 * would refuse again for ever. So it is asked for the database's own bytes, and iconv(3) converts them as
 * PostgreSQL's tables do: t/186_encodings.pl compares them, character by character. What has no equivalent
 * becomes U+FFFD.
 *
 * Data in: what a connection's server says, client_encoding among it. Data out: UTF-8. Not converted are
 * UTF8, SQL_ASCII (nobody knows what its bytes are; the core's writers of JSON repair them), and encodings
 * that this machine's iconv does not have (MULE_INTERNAL never), where the server converts.
 */
#ifndef CHANGEFEED_FEED_ENCODING_H
#define CHANGEFEED_FEED_ENCODING_H

#include <libpq-fe.h>

#include "core/bytes.h"
#include "core/upstream/pgoutput.h"

/* The client_encoding to ask a server for, whose server_encoding this is; NULL: UTF8, as always. */
const char *encoding_to_ask_for(const char *server_encoding);

/*
 * The converter of what this connection's server sends; NULL if there is nothing to convert. There is one for
 * the process, which lives in one database: if that changes, another one takes its place.
 */
struct encoding *encoding_of(PGconn *connection);

/* To the functions below `encoding` may be NULL; then they do nothing. */

/* All texts of a message; they point into `scratch` then, which is replaced. False: out of memory. */
bool encoding_convert_message(struct encoding *encoding, struct bytes payload,
							  struct pgoutput_message *message, struct buffer *scratch);

/* All values of a result. False: out of memory. */
bool encoding_convert_result(struct encoding *encoding, PGresult *result);

/* The reverse, 0-terminated, for names of the user's: replaces `scratch`. What cannot be converted stays. */
const char *encoding_from_utf8(struct encoding *encoding, const char *text, struct buffer *scratch);

#endif
