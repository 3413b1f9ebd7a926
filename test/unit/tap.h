/*
 * tap.h: tests in C that print TAP (testanything.org), run by prove.
 *
 *   int main(void) { ok(1 + 1 == 2, "sums"); is_text(got, "wanted", "renders"); return tap_end(); }
 */
#ifndef CHANGEFEED_TEST_UNIT_TAP_H
#define CHANGEFEED_TEST_UNIT_TAP_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int tap_count, tap_failures;

/* One test point; returns whether it passed, so that a test can stop after a failure. */
#define ok(condition, ...)        tap_point((condition), __FILE__, __LINE__, #condition, __VA_ARGS__)
#define is_u64(got, wanted, ...)  tap_is_u64((got), (wanted), __FILE__, __LINE__, __VA_ARGS__)
#define is_text(got, wanted, ...) tap_is_text((got), strlen(got), (wanted), __FILE__, __LINE__, __VA_ARGS__)
#define is_bytes(bytes, wanted, ...)                                                                         \
	tap_is_text((bytes).data, (bytes).size, (wanted), __FILE__, __LINE__, __VA_ARGS__)

__attribute__((format(printf, 5, 6), unused)) static bool tap_point(bool passed, const char *file, int line,
																	const char *condition, const char *name,
																	...)
{
	char text[512];
	va_list arguments;
	va_start(arguments, name);
	vsnprintf(text, sizeof(text), name, arguments);
	va_end(arguments);
	tap_failures += !passed;
	printf("%s %d - %s\n", passed ? "ok" : "not ok", ++tap_count, text);
	if (!passed)
		printf("# failed at %s:%d: %s\n", file, line, condition);
	fflush(stdout);
	return passed;
}

__attribute__((format(printf, 5, 6), unused)) static bool tap_is_u64(uint64_t got, uint64_t wanted,
																	 const char *file, int line,
																	 const char *name, ...)
{
	char text[512];
	va_list arguments;
	va_start(arguments, name);
	vsnprintf(text, sizeof(text), name, arguments);
	va_end(arguments);
	bool passed = tap_point(got == wanted, file, line, "is_u64", "%s", text);
	if (!passed)
		printf("#   got %" PRIu64 ", wanted %" PRIu64 "\n", got, wanted);
	return passed;
}

__attribute__((format(printf, 6, 7), unused)) static bool tap_is_text(const char *got, size_t size,
																	  const char *wanted, const char *file,
																	  int line, const char *name, ...)
{
	char text[512];
	va_list arguments;
	va_start(arguments, name);
	vsnprintf(text, sizeof(text), name, arguments);
	va_end(arguments);
	bool same = size == strlen(wanted) && (size == 0 || memcmp(got, wanted, size) == 0);
	bool passed = tap_point(same, file, line, "is_text", "%s", text);
	if (!passed)
		printf("#   got    [%.*s]\n#   wanted [%s]\n", (int)size, size == 0 ? "" : got, wanted);
	return passed;
}

__attribute__((unused)) static int tap_end(void)
{
	printf("1..%d\n", tap_count);
	return tap_failures > 0;
}

#endif
