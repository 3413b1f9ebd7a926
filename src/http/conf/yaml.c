/* yaml.c: see yaml.h. Nodes come from a list of blocks, because libh2o never gets to free them. */
#include "http/conf/yaml.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

struct yaml_block {
	struct yaml_block *next;
	max_align_t memory[];
};

/* What is known of a node of libyaml's document: aliases lead to the same one again. */
struct converted {
	struct yaml_node *node;
	bool started; /* with node NULL: it is being converted further up, so it contains itself */
	size_t nodes; /* with every alias written out */
	unsigned height;
};

struct yaml_reader {
	yaml_document_t document;
	struct converted *converted; /* by libyaml's index, from 1 */
	struct yaml_tree tree;
	char *file;
	struct buffer *error;
};

static void *allocate(struct yaml_tree *tree, size_t size)
{
	struct yaml_block *block = calloc(1, sizeof(*block) + size);
	if (block == NULL)
		return NULL;
	block->next = tree->blocks;
	tree->blocks = block;
	return block->memory;
}

static char *copy_text(struct yaml_tree *tree, const char *text, size_t size)
{
	char *copy = allocate(tree, size + 1);
	if (copy != NULL)
		memcpy(copy, text, size);
	return copy;
}

void yaml_tree_free(struct yaml_tree *tree)
{
	while (tree->blocks != NULL) {
		struct yaml_block *next = tree->blocks->next;
		free(tree->blocks);
		tree->blocks = next;
	}
	tree->root = NULL;
}

static void error_at(const char *file, size_t line, size_t column, struct buffer *error, const char *message)
{
	if (error->size > 0)
		return;
	buffer_printf(error, "%s:%zu:%zu: %s", file, line + 1, column + 1, message);
	/* The message may quote the file, and has to stay one line. */
	for (size_t i = 0; i < error->size; i++) {
		if ((unsigned char)error->data[i] < ' ' || error->data[i] == 0x7f)
			error->data[i] = '?';
	}
}

void yaml_error(const struct yaml_node *node, struct buffer *ret_error, const char *format, ...)
{
	char message[1024];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	error_at(node->file, node->line, node->column, ret_error, message);
}

static bool fail_at(struct yaml_reader *reader, const yaml_node_t *at, const char *message)
{
	error_at(reader->file, at->start_mark.line, at->start_mark.column, reader->error, message);
	return false;
}

static bool convert_node(struct yaml_reader *reader, int index, unsigned depth);

/* Converts a child and adds its size to its parent's. */
static struct yaml_node *convert_child(struct yaml_reader *reader, int parent, int index, unsigned depth)
{
	if (!convert_node(reader, index, depth + 1))
		return NULL;
	struct converted *of_parent = &reader->converted[parent], *child = &reader->converted[index];
	of_parent->nodes += child->nodes;
	if (of_parent->height < child->height + 1)
		of_parent->height = child->height + 1;
	const yaml_node_t *at = &reader->document.nodes.start[index - 1];
	if (of_parent->nodes > YAML_NODES_MAX) {
		fail_at(reader, at, "the file, with its aliases written out, is too large");
		return NULL;
	}
	if (of_parent->height > YAML_DEPTH_MAX) {
		fail_at(reader, at, "nested too deeply");
		return NULL;
	}
	return child->node;
}

static struct yaml_node *create_node(struct yaml_reader *reader, const yaml_node_t *from, enum yaml_type type,
									 size_t size)
{
	struct yaml_node *node = allocate(&reader->tree, sizeof(*node) + size);
	if (node == NULL) {
		fail_at(reader, from, "out of memory");
		return NULL;
	}
	node->type = type;
	node->file = reader->file;
	node->line = from->start_mark.line;
	node->column = from->start_mark.column;
	node->reference_count = 1;
	return node;
}

static struct yaml_node *convert_scalar(struct yaml_reader *reader, const yaml_node_t *from)
{
	const char *text = (const char *)from->data.scalar.value;
	size_t size = from->data.scalar.length;
	if (memchr(text, 0, size) != NULL) {
		fail_at(reader, from, "a value cannot hold a NUL character");
		return NULL;
	}
	struct yaml_node *node = create_node(reader, from, YAML_SCALAR, 0);
	if (node != NULL && (node->scalar = copy_text(&reader->tree, text, size)) == NULL)
		fail_at(reader, from, "out of memory");
	return node == NULL || node->scalar == NULL ? NULL : node;
}

static struct yaml_node *convert_sequence(struct yaml_reader *reader, const yaml_node_t *from, int index,
										  unsigned depth)
{
	size_t count = (size_t)(from->data.sequence.items.top - from->data.sequence.items.start);
	struct yaml_node *node = create_node(reader, from, YAML_SEQUENCE, count * sizeof(struct yaml_node *));
	for (size_t i = 0; node != NULL && i < count; i++) {
		struct yaml_node *item = convert_child(reader, index, from->data.sequence.items.start[i], depth);
		if (item == NULL)
			return NULL;
		node->sequence.items[node->sequence.count++] = item;
	}
	return node;
}

static bool is_merge_key(const struct yaml_node *key)
{
	return key->type == YAML_SCALAR && strcmp(key->scalar, "<<") == 0;
}

/* How many pairs a value of `<<` brings at most; false if it is neither a mapping nor a list of them. */
static bool count_merged(const struct yaml_node *source, size_t *ret_count)
{
	size_t count = 0;
	if (source->type == YAML_MAPPING)
		count = source->mapping.count;
	else if (source->type == YAML_SCALAR)
		return false;
	for (size_t i = 0; source->type == YAML_SEQUENCE && i < source->sequence.count; i++) {
		if (source->sequence.items[i]->type != YAML_MAPPING)
			return false;
		count += source->sequence.items[i]->mapping.count;
	}
	*ret_count = count;
	return true;
}

/* The pairs whose keys `node` does not have (yaml.org/type/merge.html); there is room for them. */
static void merge_mapping(struct yaml_node *node, const struct yaml_node *source)
{
	for (size_t i = 0; source->type == YAML_SEQUENCE && i < source->sequence.count; i++)
		merge_mapping(node, source->sequence.items[i]);
	for (size_t i = 0; source->type == YAML_MAPPING && i < source->mapping.count; i++) {
		const struct yaml_node *key = source->mapping.pairs[i].key;
		if (key->type != YAML_SCALAR || yaml_get(node, key->scalar) == NULL)
			node->mapping.pairs[node->mapping.count++] = source->mapping.pairs[i];
	}
}

static struct yaml_node *convert_mapping(struct yaml_reader *reader, const yaml_node_t *from, int index,
										 unsigned depth)
{
	const yaml_node_pair_t *pairs = from->data.mapping.pairs.start;
	size_t own = (size_t)(from->data.mapping.pairs.top - pairs), merged = 0;
	for (size_t i = 0; i < own; i++) {
		struct yaml_node *key = convert_child(reader, index, pairs[i].key, depth);
		struct yaml_node *value = key == NULL ? NULL : convert_child(reader, index, pairs[i].value, depth);
		if (value == NULL)
			return NULL;
		size_t count;
		if (is_merge_key(key) && !count_merged(value, &count)) {
			yaml_error(key, reader->error, "the value of << has to be a mapping or a list of mappings");
			return NULL;
		}
		merged += is_merge_key(key) ? count : 0;
	}

	struct yaml_node *node =
		create_node(reader, from, YAML_MAPPING, (own + merged) * sizeof(struct yaml_pair));
	for (size_t i = 0; node != NULL && i < own; i++) {
		struct yaml_pair pair = {reader->converted[pairs[i].key].node,
								 reader->converted[pairs[i].value].node};
		if (!is_merge_key(pair.key))
			node->mapping.pairs[node->mapping.count++] = pair;
	}
	for (size_t i = 0; node != NULL && i < own; i++) {
		if (is_merge_key(reader->converted[pairs[i].key].node))
			merge_mapping(node, reader->converted[pairs[i].value].node);
	}
	return node;
}

/* A tag such as !file asks for something that is not going to happen: YAML's own types are all there is. */
static bool tag_is_standard(const yaml_node_t *node)
{
	return node->tag == NULL || strncmp((const char *)node->tag, "tag:yaml.org,2002:", 18) == 0;
}

static bool convert_node(struct yaml_reader *reader, int index, unsigned depth)
{
	struct converted *to = &reader->converted[index];
	const yaml_node_t *from = &reader->document.nodes.start[index - 1];
	if (to->node != NULL)
		return true;
	if (to->started)
		return fail_at(reader, from, "an alias makes this contain itself");
	if (depth > YAML_DEPTH_MAX)
		return fail_at(reader, from, "nested too deeply");
	if (!tag_is_standard(from))
		return fail_at(reader, from, "tags such as !file are not supported");
	*to = (struct converted){.started = true, .nodes = 1, .height = 1};
	if (from->type == YAML_SCALAR_NODE)
		to->node = convert_scalar(reader, from);
	else if (from->type == YAML_SEQUENCE_NODE)
		to->node = convert_sequence(reader, from, index, depth);
	else
		to->node = convert_mapping(reader, from, index, depth);
	return to->node != NULL;
}

static bool convert_document(struct yaml_reader *reader)
{
	size_t count = (size_t)(reader->document.nodes.top - reader->document.nodes.start);
	if (count == 0) {
		error_at(reader->file, 0, 0, reader->error, "the file is empty");
		return false;
	}
	reader->converted = calloc(count + 1, sizeof(*reader->converted));
	if (reader->converted == NULL)
		return fail_at(reader, reader->document.nodes.start, "out of memory");
	bool done = convert_node(reader, 1, 1);
	reader->tree.root = reader->converted[1].node;
	free(reader->converted);
	return done;
}

static bool fail_parser(const yaml_parser_t *parser, const char *file, struct buffer *error)
{
	const char *problem = parser->problem != NULL ? parser->problem : "out of memory";
	yaml_mark_t mark = parser->error == YAML_READER_ERROR ? parser->mark : parser->problem_mark;
	error_at(file, mark.line, mark.column, error, problem);
	return false;
}

/* A second document would be ignored in silence. */
static bool parser_is_at_end(yaml_parser_t *parser, const char *file, struct buffer *error)
{
	yaml_document_t rest;
	if (!yaml_parser_load(parser, &rest))
		return fail_parser(parser, file, error);
	bool at_end = yaml_document_get_root_node(&rest) == NULL;
	if (!at_end)
		error_at(file, rest.start_mark.line, rest.start_mark.column, error, "a second document in the file");
	yaml_document_delete(&rest);
	return at_end;
}

bool yaml_tree_parse(const char *file, struct bytes text, struct yaml_tree *ret_tree,
					 struct buffer *ret_error)
{
	yaml_parser_t parser;
	if (!yaml_parser_initialize(&parser)) {
		error_at(file, 0, 0, ret_error, "out of memory");
		return false;
	}
	const char *input = text.size == 0 ? "" : text.data;
	yaml_parser_set_input_string(&parser, (const unsigned char *)input, text.size);

	struct yaml_reader reader = {.error = ret_error};
	bool done = false;
	if (!yaml_parser_load(&parser, &reader.document)) {
		fail_parser(&parser, file, ret_error);
	} else {
		reader.file = copy_text(&reader.tree, file, strlen(file));
		if (reader.file == NULL)
			error_at(file, 0, 0, ret_error, "out of memory");
		else
			done = convert_document(&reader) && parser_is_at_end(&parser, file, ret_error);
		yaml_document_delete(&reader.document);
	}
	yaml_parser_delete(&parser);
	if (done)
		*ret_tree = reader.tree;
	else
		yaml_tree_free(&reader.tree);
	return done;
}

struct yaml_node *yaml_get(const struct yaml_node *node, const char *key)
{
	for (size_t i = 0; node->type == YAML_MAPPING && i < node->mapping.count; i++) {
		const struct yaml_pair *pair = &node->mapping.pairs[i];
		if (pair->key->type == YAML_SCALAR && strcmp(pair->key->scalar, key) == 0)
			return pair->value;
	}
	return NULL;
}

struct yaml_node *yaml_mapping_with(struct yaml_tree *tree, const struct yaml_node *mapping, const char *key)
{
	size_t count = mapping->mapping.count;
	struct yaml_node *copy = allocate(tree, sizeof(*copy) + (count + 1) * sizeof(struct yaml_pair));
	struct yaml_node *key_node = allocate(tree, sizeof(*key_node));
	struct yaml_node *value = allocate(tree, sizeof(*value));
	char *key_text = copy_text(tree, key, strlen(key));
	if (copy == NULL || key_node == NULL || value == NULL || key_text == NULL)
		return NULL;
	*copy = *key_node = *value = *mapping;
	copy->reference_count = key_node->reference_count = value->reference_count = 1;
	memcpy(copy->mapping.pairs, mapping->mapping.pairs, count * sizeof(struct yaml_pair));
	copy->mapping.pairs[copy->mapping.count++] = (struct yaml_pair){key_node, value};
	key_node->type = YAML_SCALAR;
	key_node->scalar = key_text;
	value->mapping.count = 0;
	return copy;
}
