/* value_hstore.c: contrib's hstore (PostgreSQL: contrib/hstore/hstore_io.c, hstore_out), a map of str to str
 * or nil. */
#include "core/upstream/value_kinds.h"

struct pair {
	struct nested_text key;
	struct nested_text value;
	bool is_null;
};

/* Takes off "key"=>"value" or "key"=>NULL. */
static bool take_pair(struct nested_text *text, struct pair *ret_pair)
{
	if (!nested_text_take_quoted(text, &ret_pair->key) || !nested_text_take(text, "=>"))
		return false;
	ret_pair->is_null = nested_text_peek(*text) == 'N';
	return ret_pair->is_null ? nested_text_take(text, "NULL")
							 : nested_text_take_quoted(text, &ret_pair->value);
}

static bool count_pairs(struct nested_text text, size_t *ret_count)
{
	struct pair pair;
	size_t count = 0;
	while (nested_text_peek(text) >= 0) {
		if ((count > 0 && !nested_text_take(&text, ", ")) || !take_pair(&text, &pair))
			return false;
		count++;
	}
	*ret_count = count;
	return true;
}

bool value_pack_hstore(msgpack_packer *out, struct nested_text text, unsigned depth)
{
	size_t count;
	if (depth == VALUE_DEPTH_MAX || !count_pairs(text, &count))
		return false;

	msgpack_pack_map(out, count);
	struct pair pair;
	while (take_pair(&text, &pair)) {
		nested_text_pack_str(out, pair.key);
		if (pair.is_null)
			msgpack_pack_nil(out);
		else
			nested_text_pack_str(out, pair.value);
		nested_text_take(&text, ", ");
	}
	return true;
}
