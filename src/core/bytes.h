/*
 * bytes.h: a borrowed run of bytes, and a buffer that grows.
 *
 * `struct bytes` never owns anything. `struct buffer` owns its memory until buffer_free(). When memory runs
 * out, a buffer sets `failed`, ignores what is appended from then on and keeps what it has: a caller appends
 * a whole document and asks once, at the end. The core never aborts, because it also runs inside a backend of
 * PostgreSQL.
 */
#ifndef CHANGEFEED_CORE_BYTES_H
#define CHANGEFEED_CORE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The number of elements of an array. */
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct bytes {
	const char *data;
	size_t size;
};

#define BYTES(literal)                                                                                       \
	(struct bytes)                                                                                           \
	{                                                                                                        \
		(literal), sizeof(literal) - 1                                                                       \
	}

static inline struct bytes bytes_of(const char *string)
{
	return (struct bytes){string, strlen(string)};
}

enum { U64_DIGITS_MAX = 20 };

/* A number in decimal. The bytes are in ret_digits, without a 0 at their end. */
struct bytes bytes_of_u64(uint64_t number, char ret_digits[U64_DIGITS_MAX]);

/* Decimal digits only. Returns false, *ret_number untouched, if empty, not digits, or beyond 64 bits. */
bool bytes_parse_u64(struct bytes text, uint64_t *ret_number);

/* What is behind the first `offset` bytes. */
static inline struct bytes bytes_from(struct bytes text, size_t offset)
{
	return (struct bytes){text.data + offset, text.size - offset};
}

/* Takes what is before the first `separator`, or all, off the front of `rest`. False: there was none. */
bool bytes_take_until(struct bytes *rest, char separator, struct bytes *ret_part);

/* The value of a hexadecimal digit in either case, -1 if it is none. */
static inline int hex_digit(int c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

extern const char hex_digits[];

/* Writes two digits in lower case for each byte, without a 0 at their end. */
void hex_write(char *to, struct bytes bytes);

/* Changes letters of ASCII only, whatever the locale. */
static inline char ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
	return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* Without the blanks and tabs at both ends: what HTTP calls optional whitespace. */
static inline struct bytes bytes_trim(struct bytes text)
{
	while (text.size > 0 && (text.data[0] == ' ' || text.data[0] == '\t'))
		text = bytes_from(text, 1);
	while (text.size > 0 && (text.data[text.size - 1] == ' ' || text.data[text.size - 1] == '\t'))
		text.size--;
	return text;
}

struct buffer {
	char *data;
	size_t size;
	size_t capacity;
	bool failed;
};

/* Makes room for `size` more bytes and returns where they go, or NULL (and sets `failed`). Does not move
 * `size`. */
char *buffer_reserve(struct buffer *buffer, size_t size);

/* What buffer_append() below does where the buffer has to grow, or has failed. */
void buffer_append_slow(struct buffer *buffer, const void *data, size_t size);

void buffer_append_u64(struct buffer *buffer, uint64_t number);
void buffer_append_i64(struct buffer *buffer, int64_t number);

/* printf into a buffer; for text of our own only: nothing that needs escaping goes through it. */
void buffer_printf(struct buffer *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What is in the buffer, with a 0 behind it that does not count. NULL out of memory. Valid until the buffer is
 * changed. */
char *buffer_string(struct buffer *buffer);

/* The same for people: "out of memory" then. */
const char *buffer_message(struct buffer *buffer);

/* Releases the memory and leaves an empty buffer that can be used again. */
void buffer_free(struct buffer *buffer);

/* `data` may be NULL if `size` is 0, as it may be in struct bytes. */
static inline void buffer_append(struct buffer *buffer, const void *data, size_t size)
{
	if (size == 0)
		return;
	if (size <= buffer->capacity - buffer->size && !buffer->failed && buffer->data != NULL) {
		memcpy(buffer->data + buffer->size, data, size);
		buffer->size += size;
	} else {
		buffer_append_slow(buffer, data, size);
	}
}

static inline void buffer_append_bytes(struct buffer *buffer, struct bytes bytes)
{
	buffer_append(buffer, bytes.data, bytes.size);
}

static inline void buffer_append_string(struct buffer *buffer, const char *string)
{
	buffer_append(buffer, string, strlen(string));
}

static inline void buffer_append_char(struct buffer *buffer, char c)
{
	buffer_append(buffer, &c, 1);
}

/* Empties the buffer and keeps its memory. */
static inline void buffer_clear(struct buffer *buffer)
{
	buffer->size = 0;
	buffer->failed = false;
}

/* The same for a buffer that lives as long as the process: the memory of something unusually large, more than
 * 2 MB, is given back. */
void buffer_restart(struct buffer *buffer);

static inline struct bytes buffer_bytes(const struct buffer *buffer)
{
	return (struct bytes){buffer->data, buffer->size};
}

/* The write callback of a msgpack_packer whose data is a struct buffer. Returns 0, or -1 out of memory. */
int buffer_msgpack_write(void *buffer, const char *data, size_t size);

#endif
