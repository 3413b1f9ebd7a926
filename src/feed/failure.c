/*
 * failure.c: see failure.h.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "feed/failure.h"

/* libpq's messages end in a line break and may hold several lines; a status is one line. */
static void join_lines(char *text)
{
	char *end = text;
	for (const char *from = text; *from != 0; from++) {
		if (*from != '\n' && *from != '\r' && *from != '\t')
			*end++ = *from;
		else if (end > text && end[-1] != ' ')
			*end++ = ' ';
	}
	while (end > text && end[-1] == ' ')
		end--;
	*end = 0;
}

bool failure_set(struct failure *failure, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(failure->text, sizeof(failure->text), format, arguments);
	va_end(arguments);
	join_lines(failure->text);
	failure->sqlstate[0] = 0;
	return false;
}

bool failure_of_connection(struct failure *failure, const char *what, const PGconn *connection)
{
	return failure_set(failure, "%s: %s", what, PQerrorMessage(connection));
}

bool failure_of_result(struct failure *failure, const char *what, const PGresult *result)
{
	const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	if (primary == NULL)
		return failure_set(failure, "%s: %s", what, PQresultErrorMessage(result));
	if (hint == NULL)
		failure_set(failure, "%s: %s", what, primary);
	else
		failure_set(failure, "%s: %s (%s)", what, primary, hint);
	if (sqlstate != NULL)
		snprintf(failure->sqlstate, sizeof(failure->sqlstate), "%s", sqlstate);
	return false;
}
