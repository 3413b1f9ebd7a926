/* console.c: see console.h. CONSOLE_PAGE is the file's path, from the build. */
#include "http/console.h"

__asm__(".section .rodata\n"
		"console_begin:\n"
		".incbin \"" CONSOLE_PAGE "\"\n"
		"console_end:\n"
		".byte 0\n"
		".previous\n");

extern const char console_begin[], console_end[];

void console_append(struct buffer *out, h2o_mem_pool_t *pool, struct bytes mount, bool tenants)
{
	static const char tag[] = "<html";
	const char *begin = memmem(console_begin, (size_t)(console_end - console_begin), tag, sizeof(tag) - 1);
	h2o_iovec_t escaped = h2o_htmlescape(pool, mount.data, mount.size);
	const char *rest = begin + sizeof(tag) - 1;

	buffer_append(out, console_begin, (size_t)(rest - console_begin));
	buffer_append_string(out, " data-mount=\"");
	buffer_append(out, escaped.base, escaped.len);
	buffer_append_string(out, tenants ? "\" data-tenants" : "\"");
	buffer_append_bytes(out, (struct bytes){rest, (size_t)(console_end - rest)});
}
