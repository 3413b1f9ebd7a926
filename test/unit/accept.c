/* accept.c: JSON or MessagePack, by Accept. */
#include "tap.h"

#include "core/request/accept.h"

static void chooses(bool msgpack, const char *first, const char *second)
{
	struct accept accept = {0};

	accept_add(&accept, bytes_of(first));
	accept_add(&accept, bytes_of(second));
	ok(accept_prefers_msgpack(&accept) == msgpack, "%s: '%s'%s%s", msgpack ? "MessagePack" : "JSON", first,
	   second[0] == '\0' ? "" : " and ", second);
}

int main(void)
{
	chooses(false, "", "");
	chooses(false, "*/*", "");
	chooses(false, "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "");
	chooses(true, "application/msgpack", "");
	chooses(true, "Application/VND.MsgPack", "");
	chooses(false, "application/msgpackish, application/x-msgpack", "");

	/* weights, with the blanks that RFC 9110 allows around `;` */
	chooses(false, "application/json, application/msgpack;q=0.5", "");
	chooses(false, "application/json; q=0.9, application/msgpack; q=0.1", "");
	chooses(false, "application/json;q=0.9,\tapplication/msgpack \t; \tQ=0.899", "");
	chooses(true, "application/json ; q=0.1 , application/msgpack", "");
	chooses(true, "application/msgpack, application/json", "");
	chooses(false, "application/msgpack;q=0", "");
	chooses(false, "application/msgpack; q=0.000", "");
	chooses(true, "application/msgpack; q=0.001, application/json; q=0", "");

	/* ranges are JSON, as far as no closer one is given */
	chooses(false, "application/msgpack;q=0.3, */*", "");
	chooses(false, "application/msgpack;q=0.3, application/*;q=0.4, */*;q=0.1", "");
	chooses(true, "application/msgpack;q=0.3, application/json;q=0.2, */*", "");
	chooses(true, "application/msgpack, */*;q=0.8", "");

	/* quoted text, and what is malformed */
	chooses(true, "application/msgpack;profile=\";q=0,\\\";q=0\"", "");
	chooses(true, "application/msgpack;profile=\"never closed, application/json", "");
	chooses(true, ",,;;,application/msgpack;,", "");
	chooses(false, "application/msgpack;q=", "");
	chooses(false, "application/msgpack;q=.2, application/json", "");
	chooses(true, "application/msgpack; q=.9, application/json; q=.1, *; q=.2", "");

	/* several headers are one list */
	chooses(false, "application/msgpack;q=0.5", "application/json");
	chooses(true, "application/json;q=0.1", "application/msgpack");
	return tap_end();
}
