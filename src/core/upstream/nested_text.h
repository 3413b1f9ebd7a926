/*
 * nested_text.h: text inside the text of an array, a composite or an hstore, read without unescaping it
 * first.
 *
 * PostgreSQL writes an element that needs it in quotes, and escapes the quotes and backslashes inside:
 * array_out and hstore_out write \" and \\, record_out writes "" and \\. An element of an element is escaped
 * twice, and so on; here the int[] {1,2} in a composite in an array in a composite:
 *
 *   ("{""(\\""{1,2}\\"")""}")
 *
 * Between the quotes of an element any quote or backslash leads an escape, and the character behind it stands
 * for itself, whichever of the three wrote it. So text at any depth is a run of the outermost text and the
 * number of layers of escapes to peel off. That needs no memory, and what has no escapes is used in place.
 *
 * Invariant: a run begins and ends between whole characters of its innermost layer. A run that does not (text
 * that PostgreSQL never wrote) ends early.
 */
#ifndef CHANGEFEED_CORE_UPSTREAM_NESTED_TEXT_H
#define CHANGEFEED_CORE_UPSTREAM_NESTED_TEXT_H

#include <msgpack.h>

#include "core/bytes.h"

struct nested_text {
	const char *at;
	const char *end;
	unsigned layers; /* 0: as it is */
};

static inline struct nested_text nested_text_of(struct bytes text)
{
	const char *at = text.size == 0 ? "" : text.data;
	return (struct nested_text){at, at + text.size, 0};
}

/* nested_text_next() for text with layers. */
int nested_text_peel(struct nested_text *text, unsigned layers);

/* Takes the next byte off, as an unsigned char; -1 at the end. */
static inline int nested_text_next(struct nested_text *text)
{
	if (text->layers > 0)
		return nested_text_peel(text, text->layers);
	return text->at == text->end ? -1 : (unsigned char)*text->at++;
}

/* The next byte, not taken off. */
static inline int nested_text_peek(struct nested_text text)
{
	return nested_text_next(&text);
}

/* Takes off these bytes. Returns false, with some of them taken off, if the text does not begin with them. */
bool nested_text_take(struct nested_text *text, const char *bytes);

/* The same text with layers 0 if nothing in it is escaped. */
struct nested_text nested_text_simplify(struct nested_text text);

/* The number of bytes once all layers are off. */
size_t nested_text_size(struct nested_text text);

/*
 * Takes off a string in quotes, and the quotes. *ret_inside is what is between them, one layer deeper.
 * Returns false, both untouched, if the text does not begin with one.
 */
bool nested_text_take_quoted(struct nested_text *text, struct nested_text *ret_inside);

/*
 * Takes off an element of an array or a composite: a string in quotes, or else everything before the next
 * `delimiter` or `closer`, perhaps nothing; nested_text_is_quoted() tells which. Returns false, both
 * untouched, if there is none.
 */
bool nested_text_take_element(struct nested_text *text, char delimiter, char closer,
							  struct nested_text *ret_element);

static inline bool nested_text_is_quoted(struct nested_text element, struct nested_text whole)
{
	return element.layers > whole.layers;
}

/* Whether these are the bytes, with nothing escaped. */
bool nested_text_equal(struct nested_text text, struct bytes bytes);

/* Copies at most `capacity` bytes, taking them off, and returns how many; 0 at the end. */
size_t nested_text_read(struct nested_text *text, char *ret_bytes, size_t capacity);

void nested_text_pack_str(msgpack_packer *out, struct nested_text text);

#endif
