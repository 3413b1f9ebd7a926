/*
 * yaml_value.h: values of a YAML tree, read as what a directive expects.
 *
 * All return false, outputs untouched, after one line `file:line:column: message` in *ret_error; `name` is
 * how the message calls the value. Not here: which directives there are.
 */
#ifndef CHANGEFEED_HTTP_CONF_YAML_VALUE_H
#define CHANGEFEED_HTTP_CONF_YAML_VALUE_H

#include "http/conf/yaml.h"

/* A whole number in decimal digits, within the bounds. */
bool yaml_read_number(const struct yaml_node *node, const char *name, unsigned least, unsigned most,
					  unsigned *ret_number, struct buffer *ret_error);

/* ON or OFF, in upper or lower case. */
bool yaml_read_switch(const struct yaml_node *node, const char *name, bool *ret_on, struct buffer *ret_error);

/* Text that is not empty; a copy that the caller frees. */
bool yaml_read_text(const struct yaml_node *node, const char *name, char **ret_text,
					struct buffer *ret_error);

/*
 * Whether `node` is a mapping whose keys are all among `known` (one text, separated by ", "), none of them
 * twice. An unknown key is answered with the known ones.
 */
bool yaml_check_keys(const struct yaml_node *node, const char *name, const char *known,
					 struct buffer *ret_error);

/* What a mapping may hold: a key, and what reads its value into `data`. */
struct yaml_option {
	const char *name;
	bool (*read)(const struct yaml_node *value, void *data, struct buffer *ret_error);
};

/* Checks the keys, then has each value read, in the order of the file. What was read before a mistake stays in
 * `data`. */
bool yaml_read_mapping(const struct yaml_node *node, const char *name, const struct yaml_option *options,
					   size_t count, void *data, struct buffer *ret_error);

/* file:line:column of a node, for an error that is told when the tree is gone; freed by the caller. NULL: no
 * memory. */
char *yaml_place(const struct yaml_node *node);

#endif
