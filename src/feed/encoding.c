/*
 * encoding.c: see encoding.h. All encodings of servers are supersets of ASCII, where no byte below 0x80 is a
 * part of anything longer.
 */
#include "feed/encoding.h"

#include <iconv.h>
#include <string.h>

#include "core/utf8.h"

/* PostgreSQL's names and iconv's; the EUC ones have characters of several bytes. */
static const struct known_encoding {
	const char *name;
	const char *iconv_name;
} known_encodings[] = {
	{"LATIN1", "ISO-8859-1"},
	{"LATIN2", "ISO-8859-2"},
	{"LATIN3", "ISO-8859-3"},
	{"LATIN4", "ISO-8859-4"},
	{"LATIN5", "ISO-8859-9"},
	{"LATIN6", "ISO-8859-10"},
	{"LATIN7", "ISO-8859-13"},
	{"LATIN8", "ISO-8859-14"},
	{"LATIN9", "ISO-8859-15"},
	{"LATIN10", "ISO-8859-16"},
	{"ISO_8859_5", "ISO-8859-5"},
	{"ISO_8859_6", "ISO-8859-6"},
	{"ISO_8859_7", "ISO-8859-7"},
	{"ISO_8859_8", "ISO-8859-8"},
	{"WIN866", "CP866"},
	{"WIN874", "CP874"},
	{"WIN1250", "CP1250"},
	{"WIN1251", "CP1251"},
	{"WIN1252", "CP1252"},
	{"WIN1253", "CP1253"},
	{"WIN1254", "CP1254"},
	{"WIN1255", "CP1255"},
	{"WIN1256", "CP1256"},
	{"WIN1257", "CP1257"},
	{"WIN1258", "CP1258"},
	{"KOI8R", "KOI8-R"},
	{"KOI8U", "KOI8-U"},
	{"EUC_CN", "EUC-CN"},
	{"EUC_KR", "EUC-KR"},
	{"EUC_JP", "EUC-JP-MS"},
	{"EUC_JIS_2004", "EUC-JISX0213"},
	{"EUC_TW", "EUC-TW"},
};

/* No byte becomes more than these in UTF-8, in no encoding. */
enum { UTF8_PER_BYTE = 3 };

struct encoding {
	const struct known_encoding *known;
	bool several_bytes;
	char single[128][UTF8_PER_BYTE + 1]; /* unless several_bytes: what 0x80 to 0xff become */
	iconv_t to_utf8;
	iconv_t from_utf8;
};

static const struct known_encoding *find_known(const char *name)
{
	for (size_t i = 0; i < COUNT(known_encodings); i++) {
		if (strcmp(known_encodings[i].name, name) == 0)
			return &known_encodings[i];
	}
	return NULL;
}

/* One by one, because iconv composes neighbours of some of these encodings, as PostgreSQL does not. */
static void fill_single(struct encoding *encoding)
{
	for (int i = 0; i < 128; i++) {
		char byte = (char)(i + 128), *in = &byte, *out = encoding->single[i];
		size_t in_left = 1, out_left = UTF8_PER_BYTE;
		iconv(encoding->to_utf8, NULL, NULL, NULL, NULL);
		if (iconv(encoding->to_utf8, &in, &in_left, &out, &out_left) == (size_t)-1 ||
			iconv(encoding->to_utf8, NULL, NULL, &out, &out_left) == (size_t)-1)
			memcpy(encoding->single[i], UTF8_REPLACEMENT, sizeof(UTF8_REPLACEMENT));
		else
			*out = '\0';
	}
}

static bool open_encoding(struct encoding *encoding, const struct known_encoding *known)
{
	iconv_t to_utf8 = iconv_open("UTF-8", known->iconv_name);
	iconv_t from_utf8 = iconv_open(known->iconv_name, "UTF-8");

	if (to_utf8 == (iconv_t)-1 || from_utf8 == (iconv_t)-1) {
		if (to_utf8 != (iconv_t)-1)
			iconv_close(to_utf8);
		if (from_utf8 != (iconv_t)-1)
			iconv_close(from_utf8);
		return false;
	}
	*encoding = (struct encoding){.known = known,
								  .several_bytes = strncmp(known->name, "EUC_", 4) == 0,
								  .to_utf8 = to_utf8,
								  .from_utf8 = from_utf8};
	if (!encoding->several_bytes)
		fill_single(encoding);
	return true;
}

/* The one of the process; NULL if this is none that is converted here. */
static struct encoding *converter(const char *name)
{
	static struct encoding current;
	const struct known_encoding *known = name == NULL ? NULL : find_known(name);
	struct encoding fresh;

	if (known == NULL || known == current.known)
		return known == NULL ? NULL : &current;
	if (!open_encoding(&fresh, known))
		return NULL;
	if (current.known != NULL) {
		iconv_close(current.to_utf8);
		iconv_close(current.from_utf8);
	}
	current = fresh;
	return &current;
}

const char *encoding_to_ask_for(const char *server_encoding)
{
	if (server_encoding == NULL)
		return NULL;
	return strcmp(server_encoding, "SQL_ASCII") == 0 || converter(server_encoding) != NULL ? server_encoding
																						   : NULL;
}

struct encoding *encoding_of(PGconn *connection)
{
	return converter(PQparameterStatus(connection, "client_encoding"));
}

/* ---- to UTF-8 */

static size_t count_beyond_ascii(struct bytes text)
{
	size_t count = 0;
	for (size_t i = 0; i < text.size; i++)
		count += (unsigned char)text.data[i] >> 7;
	return count;
}

/* What is skipped where nothing can be converted: a character of an EUC encoding, or what there is of it. */
static size_t euc_character(const struct encoding *encoding, struct bytes text)
{
	unsigned char lead = (unsigned char)text.data[0];
	bool is_tw = strcmp(encoding->known->name, "EUC_TW") == 0;
	size_t wanted = lead == 0x8F ? 3 : lead == 0x8E && is_tw ? 4 : 2, size = 1;

	while (size < wanted && size < text.size && (unsigned char)text.data[size] >= 0x80)
		size++;
	return size;
}

static char *convert_several(struct encoding *encoding, struct bytes text, char *out, size_t out_left)
{
	char *in = (char *)text.data; /* iconv does not write there */
	size_t in_left = text.size;

	iconv(encoding->to_utf8, NULL, NULL, NULL, NULL);
	while (in_left > 0 && iconv(encoding->to_utf8, &in, &in_left, &out, &out_left) == (size_t)-1) {
		size_t skipped = euc_character(encoding, (struct bytes){in, in_left});
		memcpy(out, UTF8_REPLACEMENT, UTF8_PER_BYTE);
		out += UTF8_PER_BYTE;
		out_left -= UTF8_PER_BYTE;
		in += skipped;
		in_left -= skipped;
	}
	return out;
}

static char *convert_single(const struct encoding *encoding, struct bytes text, char *out)
{
	for (size_t i = 0; i < text.size; i++) {
		unsigned char byte = (unsigned char)text.data[i];
		if (byte < 0x80)
			*out++ = (char)byte;
		else
			out = stpcpy(out, encoding->single[byte - 0x80]);
	}
	return out;
}

/* Text as UTF-8: itself if it is ASCII, else in `scratch`, behind what is there. Look at scratch->failed. */
static struct bytes text_to_utf8(struct encoding *encoding, struct bytes text, struct buffer *scratch)
{
	size_t beyond = encoding == NULL ? 0 : count_beyond_ascii(text);
	if (beyond == 0)
		return text;
	size_t size_max = text.size + beyond * (UTF8_PER_BYTE - 1);
	char *begin = buffer_reserve(scratch, size_max + 1);
	if (begin == NULL)
		return text;
	char *end = encoding->several_bytes ? convert_several(encoding, text, begin, size_max)
										: convert_single(encoding, text, begin);
	*end = '\0';
	scratch->size += (size_t)(end - begin) + 1;
	return (struct bytes){begin, (size_t)(end - begin)};
}

static void convert_tuple(struct encoding *encoding, struct pgoutput_tuple *tuple, struct buffer *scratch)
{
	for (unsigned i = 0; tuple->present && i < tuple->column_count; i++)
		tuple->columns[i].text = text_to_utf8(encoding, tuple->columns[i].text, scratch);
}

bool encoding_convert_message(struct encoding *encoding, struct bytes payload,
							  struct pgoutput_message *message, struct buffer *scratch)
{
	size_t beyond = encoding == NULL ? 0 : count_beyond_ascii(payload);
	if (beyond == 0)
		return true;
	/* room for all of it, with a 0 behind each text, so that the buffer does not move */
	buffer_clear(scratch);
	if (buffer_reserve(scratch, payload.size + beyond * UTF8_PER_BYTE) == NULL)
		return false;
	switch (message->type) {
	case PGOUTPUT_RELATION:
		message->relation.schema = text_to_utf8(encoding, message->relation.schema, scratch);
		message->relation.name = text_to_utf8(encoding, message->relation.name, scratch);
		for (unsigned i = 0; i < message->relation.column_count; i++) {
			struct pgoutput_column *column = &message->relation.columns[i];
			column->name = text_to_utf8(encoding, column->name, scratch);
		}
		break;
	case PGOUTPUT_INSERT:
	case PGOUTPUT_UPDATE:
	case PGOUTPUT_DELETE:
		convert_tuple(encoding, &message->row.old_row, scratch);
		convert_tuple(encoding, &message->row.new_row, scratch);
		break;
	case PGOUTPUT_MESSAGE:
		message->message.prefix = text_to_utf8(encoding, message->message.prefix, scratch);
		break;
	default:
		break;
	}
	return !scratch->failed;
}

bool encoding_convert_result(struct encoding *encoding, PGresult *result)
{
	struct buffer scratch = {0};
	bool done = true;

	for (int row = 0; encoding != NULL && row < PQntuples(result); row++) {
		for (int column = 0; column < PQnfields(result); column++) {
			struct bytes value = {PQgetvalue(result, row, column), (size_t)PQgetlength(result, row, column)};
			buffer_clear(&scratch);
			struct bytes text = text_to_utf8(encoding, value, &scratch);
			if (text.data != value.data)
				done = done && PQsetvalue(result, row, column, (char *)text.data, (int)text.size);
		}
	}
	done = done && !scratch.failed;
	buffer_free(&scratch);
	return done;
}

/* ---- from UTF-8 */

const char *encoding_from_utf8(struct encoding *encoding, const char *text, struct buffer *scratch)
{
	size_t in_left = strlen(text), out_left = in_left;
	char *in = (char *)text; /* iconv does not write there */

	buffer_clear(scratch);
	if (encoding == NULL || count_beyond_ascii(bytes_of(text)) == 0 ||
		buffer_reserve(scratch, in_left + 1) == NULL)
		return text;
	char *out = scratch->data;
	iconv(encoding->from_utf8, NULL, NULL, NULL, NULL);
	/* the second call brings what is held back because it might be composed with what comes next */
	if (iconv(encoding->from_utf8, &in, &in_left, &out, &out_left) == (size_t)-1 ||
		iconv(encoding->from_utf8, NULL, NULL, &out, &out_left) == (size_t)-1)
		return text;
	*out = '\0';
	return scratch->data;
}
