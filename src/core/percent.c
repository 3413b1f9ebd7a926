/* percent.c: see percent.h. */
#include "core/percent.h"

static bool is_alphanumeric(char c)
{
	char lower = ascii_lower(c);
	return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9');
}

void percent_encode(struct buffer *out, struct bytes text, const char *plain)
{
	static const char digits[] = "0123456789ABCDEF";

	for (size_t i = 0; i < text.size; i++) {
		char c = text.data[i];
		if (is_alphanumeric(c) || (c != '\0' && strchr(plain, c) != NULL))
			buffer_append_char(out, c);
		else
			buffer_append(out, (char[]){'%', digits[(unsigned char)c >> 4], digits[c & 15]}, 3);
	}
}

bool percent_decode(struct buffer *out, struct bytes text, bool plus_is_space)
{
	for (size_t i = 0; i < text.size; i++) {
		char c = text.data[i];
		if (c == '+' && plus_is_space) {
			c = ' ';
		} else if (c == '%') {
			int high = text.size - i > 2 ? hex_digit(text.data[i + 1]) : -1;
			int low = text.size - i > 2 ? hex_digit(text.data[i + 2]) : -1;
			if (high < 0 || low < 0)
				return false;
			c = (char)(high << 4 | low);
			i += 2;
		}
		buffer_append_char(out, c);
	}
	return true;
}
