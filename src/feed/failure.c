/* failure.c: see failure.h. */
#include "feed/failure.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/utf8.h"

/* libpq's messages end in a line break and may hold several lines, in the server's encoding; a status is one
 * line of UTF-8. */
static void make_line(char *text)
{
	struct bytes rest = bytes_of(text);
	char *end = text;
	while (rest.size > 0) {
		size_t size = utf8_sequence(rest);
		bool is_space = *rest.data == '\n' || *rest.data == '\r' || *rest.data == '\t';
		if (size == 0) {
			*end++ = '?';
			size = 1;
		} else if (!is_space) {
			memmove(end, rest.data, size);
			end += size;
		} else if (end > text && end[-1] != ' ') {
			*end++ = ' ';
		}
		rest = bytes_from(rest, size);
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
	make_line(failure->text);
	failure->sqlstate[0] = 0;
	return false;
}

bool failure_of_protocol(struct failure *failure, const char *text)
{
	return failure_set(failure, "the server sent what is not understood: %s", text);
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
