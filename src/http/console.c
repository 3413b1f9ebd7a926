/* console.c: see console.h. CONSOLE_PAGE is the file's path, from the build. */
#include "http/console.h"

__asm__(".section .rodata\n"
		"console_begin:\n"
		".incbin \"" CONSOLE_PAGE "\"\n"
		"console_end:\n"
		".byte 0\n"
		".previous\n");

extern const char console_begin[], console_end[];

struct bytes console_page(void)
{
	return (struct bytes){console_begin, (size_t)(console_end - console_begin)};
}
