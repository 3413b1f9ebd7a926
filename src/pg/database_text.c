/* database_text.c: see database_text.h. */
#include "postgres.h"

#include "catalog/namespace.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "core/utf8.h"
#include "pg/database_text.h"

/* Converts, with `substitute` for each character that cannot be. */
static char *convert(const char *from, size_t size, int from_encoding, int to_encoding,
					 const char *substitute)
{
	Oid procedure = FindDefaultConversionProc(from_encoding, to_encoding);
	size_t room = size * MAX_CONVERSION_GROWTH + 1;
	char *result = MemoryContextAllocHuge(CurrentMemoryContext, room), *to = result;

	if (!OidIsValid(procedure))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION),
						errmsg("default conversion function for encoding \"%s\" to \"%s\" does not exist",
							   pg_encoding_to_char(from_encoding), pg_encoding_to_char(to_encoding))));
	*to = '\0';
	while (size > 0) {
		int chunk = size < INT_MAX / MAX_CONVERSION_GROWTH ? (int)size : INT_MAX / MAX_CONVERSION_GROWTH;
		size_t to_left = room - (size_t)(to - result);
		int done = pg_do_encoding_conversion_buf(procedure, from_encoding, to_encoding,
												 (unsigned char *)unconstify(char *, from), chunk,
												 (unsigned char *)to, Min(to_left, INT_MAX), true);
		from += done;
		size -= (size_t)done;
		to += strlen(to);
		if (done > 0)
			continue;
		size_t skipped = (size_t)pg_encoding_mblen(from_encoding, from);
		skipped = skipped < size ? skipped : size;
		from += skipped;
		size -= skipped;
		to = stpcpy(to, substitute);
	}
	return result;
}

char *database_text_from_utf8(struct bytes text)
{
	if (GetDatabaseEncoding() == PG_SQL_ASCII || GetDatabaseEncoding() == PG_UTF8)
		return pnstrdup(text.data, text.size);
	return convert(text.data, text.size, PG_UTF8, GetDatabaseEncoding(), "?");
}

char *database_text_to_utf8(const char *text)
{
	if (GetDatabaseEncoding() == PG_SQL_ASCII || GetDatabaseEncoding() == PG_UTF8)
		return pstrdup(text);
	return convert(text, strlen(text), GetDatabaseEncoding(), PG_UTF8, UTF8_REPLACEMENT);
}
