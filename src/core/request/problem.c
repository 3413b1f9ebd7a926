/* problem.c: see problem.h. */
#include "core/request/problem.h"

#include <stdarg.h>
#include <stdio.h>

#include "core/render/json.h"
#include "core/utf8.h"

static void set_detail(struct problem *problem, const char *format, va_list arguments)
{
	int size = vsnprintf(problem->detail, sizeof(problem->detail), format, arguments);
	if (size >= (int)sizeof(problem->detail))
		problem->detail[utf8_whole((struct bytes){problem->detail, sizeof(problem->detail) - 1})] = '\0';
	else if (size < 0)
		problem->detail[0] = '\0';
}

void problem_set(struct problem *problem, int status, const char *format, ...)
{
	va_list arguments;
	problem->status = status;
	problem->has_oldest = false;
	va_start(arguments, format);
	set_detail(problem, format, arguments);
	va_end(arguments);
}

void problem_set_gone(struct problem *problem, struct cursor oldest, const char *format, ...)
{
	va_list arguments;
	problem->status = 410;
	problem->has_oldest = true;
	problem->oldest = oldest;
	va_start(arguments, format);
	set_detail(problem, format, arguments);
	va_end(arguments);
}

const char *problem_title(int status)
{
	switch (status) {
	case 400:
		return "Bad Request";
	case 401:
		return "Unauthorized";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 406:
		return "Not Acceptable";
	case 410:
		return "Gone";
	case 414:
		return "URI Too Long";
	case 429:
		return "Too Many Requests";
	case 431:
		return "Request Header Fields Too Large";
	case 500:
		return "Internal Server Error";
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
