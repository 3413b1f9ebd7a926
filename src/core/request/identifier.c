/* identifier.c: see identifier.h. */
#include "core/request/identifier.h"

#include <string.h>

/* Names that need quotes for nothing but what they are: PostgreSQL's keywords, up to version 18, that are
 * reserved or can be names of types and functions only (src/include/parser/kwlist.h). */
static const char keywords[] =
	"all analyse analyze and any array as asc asymmetric authorization binary both case cast check "
	"collate collation column concurrently constraint create cross current_catalog current_date "
	"current_role current_schema current_time current_timestamp current_user default deferrable desc "
	"distinct do else end except false fetch for foreign freeze from full grant group having ilike in "
	"initially inner intersect into is isnull join lateral leading left like limit localtime "
	"localtimestamp natural not notnull null offset on only or order outer overlaps placing primary "
	"references returning right select session_user similar some symmetric system_user table "
	"tablesample then to trailing true union unique user using variadic verbose when where window "
	"with ";

static bool is_keyword(struct bytes name)
{
	size_t size;

	for (const char *word = keywords; *word != '\0'; word += size + 1) {
		size = strcspn(word, " ");
		if (size == name.size && memcmp(word, name.data, size) == 0)
			return true;
	}
	return false;
}

static bool is_plain(struct bytes name)
{
	if (name.size == 0 || (name.data[0] >= '0' && name.data[0] <= '9'))
		return false;
	for (size_t i = 0; i < name.size; i++) {
		char c = name.data[i];
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'))
			return false;
	}
	return !is_keyword(name);
}

void identifier_append(struct buffer *out, struct bytes name)
{
	if (is_plain(name)) {
		buffer_append_bytes(out, name);
		return;
	}
	buffer_append_char(out, '"');
	for (size_t i = 0; i < name.size; i++) {
		if (name.data[i] == '"')
			buffer_append_char(out, '"');
		buffer_append_char(out, name.data[i]);
	}
	buffer_append_char(out, '"');
}
