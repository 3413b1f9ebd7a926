/* yaml_value.c: see yaml_value.h. */
#include "http/conf/yaml_value.h"

#include <strings.h>

static bool parse_number(const char *text, unsigned *ret_number)
{
	unsigned number = 0;
	if (*text == '\0')
		return false;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9' || number > 100000000)
			return false;
		number = number * 10 + (unsigned)(*text - '0');
	}
	*ret_number = number;
	return true;
}

bool yaml_read_number(const struct yaml_node *node, const char *name, unsigned least, unsigned most,
					  unsigned *ret_number, struct buffer *ret_error)
{
	unsigned number;
	if (node->type != YAML_SCALAR || !parse_number(node->scalar, &number) || number < least ||
		number > most) {
		yaml_error(node, ret_error, "%s has to be a whole number from %u to %u", name, least, most);
		return false;
	}
	*ret_number = number;
	return true;
}

bool yaml_read_switch(const struct yaml_node *node, const char *name, bool *ret_on, struct buffer *ret_error)
{
	bool on = node->type == YAML_SCALAR && strcasecmp(node->scalar, "ON") == 0;
	if (!on && (node->type != YAML_SCALAR || strcasecmp(node->scalar, "OFF") != 0)) {
		yaml_error(node, ret_error, "%s has to be ON or OFF", name);
		return false;
	}
	*ret_on = on;
	return true;
}

bool yaml_read_text(const struct yaml_node *node, const char *name, char **ret_text, struct buffer *ret_error)
{
	if (node->type != YAML_SCALAR || *node->scalar == '\0') {
		yaml_error(node, ret_error, "%s has to be a text that is not empty", name);
		return false;
	}
	char *copy = strdup(node->scalar);
	if (copy == NULL) {
		yaml_error(node, ret_error, "out of memory");
		return false;
	}
	*ret_text = copy;
	return true;
}

static bool list_contains(const char *list, const char *word)
{
	size_t size = strlen(word);
	for (const char *at = list; *at != '\0'; at += strspn(at, ", ")) {
		size_t length = strcspn(at, ",");
		if (length == size && memcmp(at, word, size) == 0)
			return true;
		at += length;
	}
	return false;
}

static bool key_is_repeated(const struct yaml_node *mapping, size_t index)
{
	for (size_t i = 0; i < index; i++) {
		if (strcmp(mapping->mapping.pairs[i].key->scalar, mapping->mapping.pairs[index].key->scalar) == 0)
			return true;
	}
	return false;
}

bool yaml_check_keys(const struct yaml_node *node, const char *name, const char *known,
					 struct buffer *ret_error)
{
	if (node->type != YAML_MAPPING) {
		yaml_error(node, ret_error, "%s has to be a mapping of %s", name, known);
		return false;
	}
	for (size_t i = 0; i < node->mapping.count; i++) {
		const struct yaml_node *key = node->mapping.pairs[i].key;
		if (key->type != YAML_SCALAR || !list_contains(known, key->scalar)) {
			yaml_error(key, ret_error, "%s has no option \"%s\"; there are %s", name,
					   key->type == YAML_SCALAR ? key->scalar : "(not a text)", known);
			return false;
		}
		if (key_is_repeated(node, i)) {
			yaml_error(key, ret_error, "%s: \"%s\" is given twice", name, key->scalar);
			return false;
		}
	}
	return true;
}

/* There is one: the keys have been checked. */
static const struct yaml_option *find_option(const struct yaml_option *options, const char *name)
{
	while (strcmp(options->name, name) != 0)
		options++;
	return options;
}

bool yaml_read_mapping(const struct yaml_node *node, const char *name, const struct yaml_option *options,
					   size_t count, void *data, struct buffer *ret_error)
{
	struct buffer known = {0};
	for (size_t i = 0; i < count; i++)
		buffer_printf(&known, "%s%s", i > 0 ? ", " : "", options[i].name);
	buffer_append_char(&known, '\0');
	if (known.failed)
		yaml_error(node, ret_error, "out of memory");
	bool right = !known.failed && yaml_check_keys(node, name, known.data, ret_error);
	buffer_free(&known);
	for (size_t i = 0; right && i < node->mapping.count; i++) {
		const struct yaml_pair *pair = &node->mapping.pairs[i];
		right = find_option(options, pair->key->scalar)->read(pair->value, data, ret_error);
	}
	return right;
}

char *yaml_place(const struct yaml_node *node)
{
	struct buffer place = {0};
	buffer_printf(&place, "%s:%zu:%zu", node->file, node->line + 1, node->column + 1);
	char *text = buffer_string(&place);
	if (text == NULL)
		buffer_free(&place);
	return text;
}
