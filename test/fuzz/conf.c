/*
 * conf.c: any bytes as h2o.conf. The outline and the whole configuration agree on what is wrong, an error is
 * one line that begins with the file's name, and libh2o neither aborts nor reads out of bounds.
 *
 * Files that name an access-log are passed over: libh2o would create it.
 *
 * links: src/http/conf/conf.c src/http/conf/outline.c src/http/conf/address.c src/http/conf/changefeed_options.c
 * links: src/http/conf/yaml.c src/http/conf/yaml_value.c src/http/conf/tls.c src/http/conf/stderr_capture.c
 * links: -Isrc/http/h2o_compat -lh2o-evloop -lssl -lcrypto -lyaml -lz
 */
#include "http/conf/conf.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* libh2o keeps what it had built when it finds a mistake. */
const char *__lsan_default_suppressions(void)
{
	return "leak:libh2o";
}

static void add_changefeed(h2o_pathconf_t *path, const struct changefeed_options *options)
{
	if (path->path.len == 0 || options->heartbeat_s < 1 || options->heartbeat_s > 15)
		abort();
}

static void add_page(h2o_pathconf_t *path, enum conf_page page)
{
	(void)page;
	if (path->path.len == 0)
		abort();
}

static bool names_log(const struct yaml_node *node)
{
	if (node->type == YAML_SEQUENCE) {
		for (size_t i = 0; i < node->sequence.count; i++) {
			if (names_log(node->sequence.items[i]))
				return true;
		}
	} else if (node->type == YAML_MAPPING) {
		for (size_t i = 0; i < node->mapping.count; i++) {
			if (names_log(node->mapping.pairs[i].key) || names_log(node->mapping.pairs[i].value))
				return true;
		}
	}
	return node->type == YAML_SCALAR && strcmp(node->scalar, "access-log") == 0;
}

static void check_error(struct buffer *error)
{
	if (error->size < 5 || memcmp(error->data, "conf:", 5) != 0 ||
		memchr(error->data, '\n', error->size) != NULL)
		abort();
	buffer_clear(error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct conf_hooks hooks = {add_changefeed, add_page};
	struct conf_source source = {.path = "conf", .text = {(char *)data, size, size, false}};
	struct yaml_tree tree;
	struct outline outline;
	struct buffer error = {0};
	bool whole = false;
	if (!yaml_tree_parse("conf", buffer_bytes(&source.text), &tree, &error)) {
		check_error(&error);
		buffer_free(&error);
		return 0;
	}
	bool skip = names_log(tree.root);
	yaml_tree_free(&tree);

	bool outlined = conf_read_outline(&source, &outline, &error);
	if (outlined)
		outline_free(&outline);
	else
		check_error(&error);
	if (!skip) {
		struct conf *conf = conf_load(&source, &hooks, NULL, &error);
		whole = conf != NULL;
		if (whole)
			conf_free(conf);
		else
			check_error(&error);
	}
	if (whole && !outlined)
		abort();
	buffer_free(&error);
	return 0;
}
