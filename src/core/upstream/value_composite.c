/* value_composite.c: composites (PostgreSQL: src/backend/utils/adt/rowtypes.c, record_out). */
#include "core/msgpack_text.h"
#include "core/upstream/value_kinds.h"

static bool take_field(struct nested_text *text, struct nested_text *ret_field)
{
	return nested_text_take_element(text, ',', ')', ret_field);
}

/* A field that is null has no text at all; an empty string is "". */
static bool is_null(struct nested_text field, struct nested_text text)
{
	return !nested_text_is_quoted(field, text) && field.at == field.end;
}

/* Whether this is a composite with that number of fields. () is one without any, and one with a single null. */
static bool has_fields(struct nested_text text, unsigned field_count)
{
	struct nested_text field;
	unsigned count = 0;
	int c = nested_text_next(&text);
	if (c != '(')
		return false;
	do {
		if (!take_field(&text, &field))
			return false;
		count++;
		c = nested_text_next(&text);
	} while (c == ',');
	if (field_count == 0 && count == 1 && is_null(field, text))
		count = 0;
	return c == ')' && nested_text_next(&text) < 0 && count == field_count;
}

bool value_pack_composite(msgpack_packer *out, const struct type *type, struct nested_text text,
						  unsigned depth)
{
	if (depth == VALUE_DEPTH_MAX || !has_fields(text, type->field_count))
		return false;

	msgpack_pack_map(out, type->field_count);
	for (unsigned i = 0; i < type->field_count; i++) {
		const struct type_field *field = &type->fields[i];
		struct nested_text value;
		nested_text_next(&text); /* the parenthesis or the comma before it */
		take_field(&text, &value);
		pack_str(out, bytes_of(field->name));
		if (is_null(value, text))
			msgpack_pack_nil(out);
		else
			value_pack_nested(out, field->type, value, depth + 1);
	}
	return true;
}
