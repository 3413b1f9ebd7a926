/*
 * database_text.h: text between the core, which has UTF-8, and a database in another encoding.
 *
 * A database can hold bytes that PostgreSQL cannot convert; the feed makes U+FFFD of them. Neither direction
 * raises an error for that, as PostgreSQL's own functions would. SQL_ASCII means that nobody knows the
 * encoding: there text stays as it is. Results are 0-terminated, in the current memory context.
 */
#ifndef CHANGEFEED_PG_DATABASE_TEXT_H
#define CHANGEFEED_PG_DATABASE_TEXT_H

#include "core/bytes.h"

/* What the database's encoding lacks becomes a question mark. */
char *database_text_from_utf8(struct bytes text);

/* What has no equivalent becomes U+FFFD. */
char *database_text_to_utf8(const char *text);

#endif
