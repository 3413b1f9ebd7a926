/* console.c: see console.h. CONSOLE_PAGE is the file's path, from the build. */
#include "http/console.h"

__asm__(".section .rodata\n"
		"console_begin:\n"
		".incbin \"" CONSOLE_PAGE "\"\n"
		"console_end:\n"
		".byte 0\n"
		".previous\n");

extern const char console_begin[], console_end[];

/* Everything that ends an attribute or begins markup. */
static void append_attribute(struct buffer *out, struct bytes text)
{
	for (size_t i = 0; i < text.size; i++) {
		switch (text.data[i]) {
		case '"':
			buffer_append_string(out, "&quot;");
			break;
		case '&':
			buffer_append_string(out, "&amp;");
			break;
		default:
			buffer_append_char(out, text.data[i]);
		}
	}
}

void console_append(struct buffer *out, struct bytes mount, bool tenants)
{
	static const char tag[] = "<html";
	const char *begin = memmem(console_begin, (size_t)(console_end - console_begin), tag, sizeof(tag) - 1);
	const char *rest = begin + sizeof(tag) - 1;

	buffer_append(out, console_begin, (size_t)(rest - console_begin));
	buffer_append_string(out, " data-mount=\"");
	append_attribute(out, mount);
	buffer_append_string(out, tenants ? "\" data-tenants" : "\"");
	buffer_append_bytes(out, (struct bytes){rest, (size_t)(console_end - rest)});
}
