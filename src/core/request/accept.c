/* accept.c: see accept.h. */
#include "core/request/accept.h"

#include <strings.h>

/* Takes what is before the first `separator` that is not quoted, or all, off the front of `rest`, without the
 * blanks around it. */
static struct bytes take_part(struct bytes *rest, char separator)
{
	bool quoted = false;
	size_t size = 0;

	for (; size < rest->size && (quoted || rest->data[size] != separator); size++) {
		if (rest->data[size] == '"')
			quoted = !quoted;
		else if (quoted && rest->data[size] == '\\' && size + 1 < rest->size)
			size++;
	}
	struct bytes part = bytes_trim((struct bytes){rest->data, size});
	size_t taken = size < rest->size ? size + 1 : size;
	rest->data += taken;
	rest->size -= taken;
	return part;
}

static bool is_name(struct bytes text, const char *name)
{
	return text.size == strlen(name) && strncasecmp(text.data, name, text.size) == 0;
}

/* 0, 0.5, 1.000 as thousandths, and .5, which no client may send but some do; more digits than three behind the
 * point do not count. */
static unsigned weight_of(struct bytes number)
{
	unsigned weight = 0, scale = 1000;

	for (size_t i = 0; i < number.size && scale > 0; i++) {
		if (number.data[i] == '.') {
			scale = scale < 100 ? scale : 100;
			continue;
		}
		if (number.data[i] < '0' || number.data[i] > '9')
			break;
		weight += (unsigned)(number.data[i] - '0') * scale;
		scale /= 10;
	}
	return weight;
}

/* The value of `q` among the parameters behind a type, in thousandths; 1000 without one. */
static unsigned weight_in(struct bytes parameters)
{
	while (parameters.size > 0) {
		struct bytes value = take_part(&parameters, ';');
		struct bytes name = take_part(&value, '=');
		if (is_name(name, "q"))
			return weight_of(bytes_trim(value));
	}
	return 1000;
}

static void add_json(struct accept *accept, unsigned range, unsigned weight)
{
	if (range > accept->json_range || (range == accept->json_range && weight > accept->json))
		*accept = (struct accept){.msgpack = accept->msgpack, .json = weight, .json_range = range};
}

void accept_add(struct accept *accept, struct bytes value)
{
	while (value.size > 0) {
		struct bytes parameters = take_part(&value, ',');
		struct bytes type = take_part(&parameters, ';');
		unsigned weight = weight_in(parameters);

		if (is_name(type, "application/msgpack") || is_name(type, "application/vnd.msgpack"))
			accept->msgpack = weight > accept->msgpack ? weight : accept->msgpack;
		else if (is_name(type, "application/json"))
			add_json(accept, 3, weight);
		else if (is_name(type, "application/*"))
			add_json(accept, 2, weight);
		else if (is_name(type, "*/*"))
			add_json(accept, 1, weight);
	}
}

bool accept_prefers_msgpack(const struct accept *accept)
{
	return accept->msgpack > 0 && accept->msgpack >= accept->json;
}
