/*
 * problem.h: why a request is refused, as a problem document (RFC 9457, application/problem+json).
 *
 *   {"type":"about:blank","title":"Gone","status":410,"detail":"...","oldest":"23987096-1"}
 *
 * With the type about:blank the title is the status code's phrase, so only the detail is stored: one or two
 * sentences that say what to do. `oldest` is a member of our own: the oldest cursor there is.
 */
#ifndef CHANGEFEED_CORE_REQUEST_PROBLEM_H
#define CHANGEFEED_CORE_REQUEST_PROBLEM_H

#include "core/bytes.h"
#include "core/cursor.h"

enum { PROBLEM_DETAIL_SIZE = 1024 };

struct problem {
	int status;
	char detail[PROBLEM_DETAIL_SIZE]; /* 0-terminated UTF-8 */
	bool has_oldest;
	struct cursor oldest;
};

#define PROBLEM_CONTENT_TYPE "application/problem+json"

/* Sets status and detail, no oldest cursor. What does not fit is cut, never inside a UTF-8 character. */
void problem_set(struct problem *problem, int status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* 410, with the oldest cursor there is: `lagged` changes behind the request's cursor are gone, or it belongs to
 * another history. */
void problem_set_lagged(struct problem *problem, struct cursor oldest, uint64_t lagged);
void problem_set_foreign(struct problem *problem, struct cursor oldest);

/* The phrase of a status code (RFC 9110, section 15), "Error" for one that this program does not send. */
const char *problem_title(int status);

void problem_append_json(struct buffer *out, const struct problem *problem);

#endif
