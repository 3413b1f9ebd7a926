/* bytes.c: see bytes.h. */
#include "core/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { BUFFER_FIRST_CAPACITY = 256, BUFFER_KEPT_MAX = 2 << 20 };

bool bytes_parse_u64(struct bytes text, uint64_t *ret_number)
{
	uint64_t number = 0;
	if (text.size == 0 || text.size > U64_DIGITS_MAX)
		return false;
	for (size_t i = 0; i < text.size; i++) {
		unsigned digit = (unsigned char)text.data[i] - '0';
		if (digit > 9 || number > (UINT64_MAX - digit) / 10)
			return false;
		number = number * 10 + digit;
	}
	*ret_number = number;
	return true;
}

bool bytes_take_until(struct bytes *rest, char separator, struct bytes *ret_part)
{
	const char *at = rest->size == 0 ? NULL : memchr(rest->data, separator, rest->size);
	size_t size = at == NULL ? rest->size : (size_t)(at - rest->data);
	size_t taken = at == NULL ? size : size + 1;

	*ret_part = (struct bytes){rest->data, size};
	if (taken > 0)
		*rest = bytes_from(*rest, taken);
	return at != NULL;
}

char *buffer_reserve(struct buffer *buffer, size_t size)
{
	if (buffer->failed)
		return NULL;
	if (buffer->data == NULL || size > buffer->capacity - buffer->size) {
		size_t wanted = buffer->size + size;
		size_t capacity = buffer->capacity < BUFFER_FIRST_CAPACITY ? BUFFER_FIRST_CAPACITY : buffer->capacity;
		while (capacity < wanted && capacity <= SIZE_MAX / 2)
			capacity *= 2;
		char *data = capacity < wanted || wanted < size ? NULL : realloc(buffer->data, capacity);
		if (data == NULL) {
			buffer->failed = true;
			return NULL;
		}
		buffer->data = data;
		buffer->capacity = capacity;
	}
	return buffer->data + buffer->size;
}

void buffer_append_slow(struct buffer *buffer, const void *data, size_t size)
{
	char *to = buffer_reserve(buffer, size);
	if (to == NULL || size == 0)
		return;
	memcpy(to, data, size);
	buffer->size += size;
}

const char hex_digits[] = "0123456789abcdef";

void hex_write(char *to, struct bytes bytes)
{
	for (size_t i = 0; i < bytes.size; i++) {
		unsigned char byte = (unsigned char)bytes.data[i];
		*to++ = hex_digits[byte >> 4];
		*to++ = hex_digits[byte & 15];
	}
}

struct bytes bytes_of_u64(uint64_t number, char ret_digits[U64_DIGITS_MAX])
{
	size_t first = U64_DIGITS_MAX;

	do {
		ret_digits[--first] = (char)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	return (struct bytes){ret_digits + first, U64_DIGITS_MAX - first};
}

void buffer_append_u64(struct buffer *buffer, uint64_t number)
{
	char digits[U64_DIGITS_MAX];
	buffer_append_bytes(buffer, bytes_of_u64(number, digits));
}

void buffer_append_i64(struct buffer *buffer, int64_t number)
{
	if (number < 0) {
		buffer_append_char(buffer, '-');
		buffer_append_u64(buffer, 0 - (uint64_t)number);
	} else {
		buffer_append_u64(buffer, (uint64_t)number);
	}
}

void buffer_printf(struct buffer *buffer, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	int size = vsnprintf(NULL, 0, format, arguments);
	va_end(arguments);
	char *to = size < 0 ? NULL : buffer_reserve(buffer, (size_t)size + 1);
	if (to == NULL)
		return;
	va_start(arguments, format);
	vsnprintf(to, (size_t)size + 1, format, arguments);
	va_end(arguments);
	buffer->size += (size_t)size;
}

char *buffer_string(struct buffer *buffer)
{
	char *end = buffer_reserve(buffer, 1);
	if (end == NULL)
		return NULL;
	*end = '\0';
	return buffer->data;
}

const char *buffer_message(struct buffer *buffer)
{
	const char *text = buffer_string(buffer);
	return text == NULL ? "out of memory" : text;
}

void buffer_restart(struct buffer *buffer)
{
	if (buffer->capacity > BUFFER_KEPT_MAX)
		buffer_free(buffer);
	buffer_clear(buffer);
}

void buffer_free(struct buffer *buffer)
{
	free(buffer->data);
	*buffer = (struct buffer){0};
}

int buffer_msgpack_write(void *buffer, const char *data, size_t size)
{
	buffer_append(buffer, data, size);
	return ((struct buffer *)buffer)->failed ? -1 : 0;
}
