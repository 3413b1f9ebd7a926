/* problem.c: see problem.h. */
#include "core/request/problem.h"

#include <stdarg.h>
#include <stdio.h>

#include "core/render/json.h"
#include "core/utf8.h"

void problem_set(struct problem *problem, int status, const char *format, ...)
{
	va_list arguments;

	problem->status = status;
	problem->has_oldest = false;
	va_start(arguments, format);
	int size = vsnprintf(problem->detail, sizeof(problem->detail), format, arguments);
	va_end(arguments);
	if (size >= (int)sizeof(problem->detail))
		problem->detail[utf8_whole((struct bytes){problem->detail, sizeof(problem->detail) - 1})] = '\0';
	else if (size < 0)
		problem->detail[0] = '\0';
}

static void set_oldest(struct problem *problem, struct cursor oldest)
{
	problem->has_oldest = true;
	problem->oldest = oldest;
}

/* Whoever starts over from `oldest` has the very gap that on_gap=fail is to spare him. */
#define READ_AGAIN "read the table again and go on from an LSN that was read before it"

void problem_set_lagged(struct problem *problem, struct cursor oldest, uint64_t lagged)
{
	problem_set(problem, 410,
				"%llu changes that this cursor still needed are no longer retained: " READ_AGAIN
				", or go on without them, from `oldest` or with on_gap=warn",
				(unsigned long long)lagged);
	set_oldest(problem, oldest);
}

void problem_set_foreign(struct problem *problem, struct cursor oldest)
{
	problem_set(problem, 410, "this cursor belongs to another history: " READ_AGAIN);
	set_oldest(problem, oldest);
}

const char *problem_title(int status)
{
	switch (status) {
	case 400:
		return "Bad Request";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 410:
		return "Gone";
	case 414:
		return "URI Too Long";
	case 429:
		return "Too Many Requests";
	case 431:
		return "Request Header Fields Too Large";
	case 503:
		return "Service Unavailable";
	default:
		return "Error";
	}
}

void problem_append_json(struct buffer *out, const struct problem *problem)
{
	buffer_append_string(out, "{\"type\":\"about:blank\",\"title\":");
	json_append_string(out, bytes_of(problem_title(problem->status)));
	buffer_append_string(out, ",\"status\":");
	buffer_append_i64(out, problem->status);
	buffer_append_string(out, ",\"detail\":");
	json_append_string(out, bytes_of(problem->detail));
	if (problem->has_oldest) {
		buffer_append_string(out, ",\"oldest\":\"");
		cursor_append(out, problem->oldest);
		buffer_append_char(out, '"');
	}
	buffer_append_char(out, '}');
}
