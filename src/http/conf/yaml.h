/*
 * yaml.h: a YAML file (yaml.org/spec/1.1, by libyaml) as a tree in which every node knows its line and
 * column.
 *
 * In: text. Out: nodes whose layout is the one that libh2o was compiled with (yoml_t of its configurator.h),
 * so that its configurators can read the tree; h2o_compat/yoml.h gives it that name. Aliases share nodes,
 * merge keys (`<<`) are resolved, tags other than YAML's own are refused.
 *
 * Bounds: YAML_DEPTH_MAX levels, and YAML_NODES_MAX nodes counted with every alias written out: what walks
 * the tree can neither overflow the stack nor run for hours. A node that contains itself is refused. Not
 * here: what a value means (yaml_value.h).
 */
#ifndef CHANGEFEED_HTTP_CONF_YAML_H
#define CHANGEFEED_HTTP_CONF_YAML_H

#include "core/bytes.h"

enum { YAML_DEPTH_MAX = 32, YAML_NODES_MAX = 50000 };

enum yaml_type { YAML_SCALAR, YAML_SEQUENCE, YAML_MAPPING };

struct yaml_node;

struct yaml_pair {
	struct yaml_node *key;
	struct yaml_node *value;
};

/* libh2o reads these by their offsets: neither order nor type may change. */
struct yaml_node {
	enum yaml_type type;
	char *file;
	size_t line;            /* from 0 */
	size_t column;          /* from 0 */
	char *anchor;           /* unused: NULL */
	char *tag;              /* unused: NULL */
	size_t reference_count; /* libh2o adds and takes away; the tree's own reference keeps it above 0 */
	union {
		char *scalar; /* ends with a 0 and holds no other */
		struct {
			size_t count;
			struct yaml_node *items[];
		} sequence;
		struct {
			size_t count;
			struct yaml_pair pairs[];
		} mapping;
	};
};

/* Owns the nodes, which live until yaml_tree_free(). */
struct yaml_tree {
	struct yaml_node *root;
	struct yaml_block *blocks; /* private */
};

/* Parses `text`; `file` is only a name. False: *ret_tree untouched, one line in *ret_error. */
bool yaml_tree_parse(const char *file, struct bytes text, struct yaml_tree *ret_tree,
					 struct buffer *ret_error);
void yaml_tree_free(struct yaml_tree *tree);

/* The value of the first pair with this key, or NULL; also NULL if `node` is no mapping. */
struct yaml_node *yaml_get(const struct yaml_node *node, const char *key);

/*
 * A copy of `mapping`, of the same tree, with one more pair: `key` and an empty mapping. The nodes below are
 * shared with the original. NULL: no memory.
 */
struct yaml_node *yaml_mapping_with(struct yaml_tree *tree, const struct yaml_node *mapping, const char *key);

/*
 * Writes one line, `file:line:column: ` and the message, into *ret_error, which the caller hands over empty.
 * When it holds an error already that one stays: the first is the cause.
 */
void yaml_error(const struct yaml_node *node, struct buffer *ret_error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
