/* changefeed_options.c: see changefeed_options.h. */
#include "http/conf/changefeed_options.h"

#include <ctype.h>
#include <stdlib.h>

#include "http/conf/yaml_value.h"

static const struct changefeed_options default_options = {
	.heartbeat_s = 10,
	.retry_ms = 1000,
	.stall_s = 30,
};

/* scheme://host or scheme://host:port in lower case, which is all that browsers put into the header Origin. */
static bool is_origin(const char *text)
{
	size_t scheme = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789+-.");
	if (scheme == 0 || strncmp(text + scheme, "://", 3) != 0)
		return false;
	const char *host = text + scheme + 3;
	if (*host == '\0')
		return false;
	for (; *host != '\0'; host++) {
		if (isupper((unsigned char)*host) || !isgraph((unsigned char)*host) ||
			strchr("/?#@*,", *host) != NULL)
			return false;
	}
	return true;
}

static bool read_origin(const struct yaml_node *node, char **ret_origin, struct buffer *error)
{
	if (node->type != YAML_SCALAR || !is_origin(node->scalar)) {
		yaml_error(node, error,
				   "cors has to be \"*\", an origin such as https://app.example:8443 (lower case, no path), "
				   "or a list of origins");
		return false;
	}
	return yaml_read_text(node, "cors", ret_origin, error);
}

static bool read_cors(const struct yaml_node *node, void *data, struct buffer *error)
{
	struct changefeed_options *options = data;

	if (node->type == YAML_SCALAR && strcmp(node->scalar, "*") == 0) {
		options->cors_any = true;
		return true;
	}
	size_t count = node->type == YAML_SEQUENCE ? node->sequence.count : 1;
	options->cors_origins = calloc(count + 1, sizeof(char *));
	if (options->cors_origins == NULL) {
		yaml_error(node, error, "out of memory");
		return false;
	}
	if (node->type != YAML_SEQUENCE)
		return read_origin(node, &options->cors_origins[0], error);
	for (size_t i = 0; i < count; i++) {
		if (!read_origin(node->sequence.items[i], &options->cors_origins[i], error))
			return false;
	}
	return true;
}

static bool read_heartbeat(const struct yaml_node *value, void *data, struct buffer *error)
{
	struct changefeed_options *options = data;
	return yaml_read_number(value, "heartbeat (seconds)", 1, 15, &options->heartbeat_s, error);
}

static bool read_retry(const struct yaml_node *value, void *data, struct buffer *error)
{
	struct changefeed_options *options = data;
	return yaml_read_number(value, "retry (milliseconds)", 0, 3600000, &options->retry_ms, error);
}

static bool read_stall_timeout(const struct yaml_node *value, void *data, struct buffer *error)
{
	struct changefeed_options *options = data;
	return yaml_read_number(value, "stall-timeout (seconds)", 1, 3600, &options->stall_s, error);
}

static bool read_stream_lifetime(const struct yaml_node *value, void *data, struct buffer *error)
{
	struct changefeed_options *options = data;
	return yaml_read_number(value, "stream-lifetime (seconds)", 0, 604800, &options->lifetime_s, error);
}

static bool read_tenant_column(const struct yaml_node *value, void *data, struct buffer *error)
{
	struct changefeed_options *options = data;
	return yaml_read_text(value, "tenant-column", &options->tenant_column, error);
}

static bool read_messages(const struct yaml_node *value, void *data, struct buffer *error)
{
	struct changefeed_options *options = data;
	return yaml_read_switch(value, "messages", &options->messages, error);
}

static const struct yaml_option known[] = {
	{"heartbeat", read_heartbeat},
	{"retry", read_retry},
	{"stall-timeout", read_stall_timeout},
	{"stream-lifetime", read_stream_lifetime},
	{"tenant-column", read_tenant_column},
	{"messages", read_messages},
	{"cors", read_cors},
};

bool changefeed_options_read(const struct yaml_node *value, bool *ret_on,
							 struct changefeed_options *ret_options, struct buffer *ret_error)
{
	struct changefeed_options options = default_options;
	bool on = true, right;

	if (value->type == YAML_SCALAR)
		right = yaml_read_switch(value, "changefeed", &on, ret_error);
	else
		right = yaml_read_mapping(value, "changefeed", known, COUNT(known), &options, ret_error);
	if (!right) {
		changefeed_options_free(&options);
		return false;
	}
	*ret_on = on;
	if (on)
		*ret_options = options;
	return true;
}

void changefeed_options_free(struct changefeed_options *options)
{
	for (char **origin = options->cors_origins; origin != NULL && *origin != NULL; origin++)
		free(*origin);
	free(options->cors_origins);
	free(options->tenant_column);
	*options = (struct changefeed_options){0};
}

int64_t changefeed_options_patience_ms(const struct changefeed_options *options, size_t size)
{
	if (options == NULL)
		options = &default_options;
	return options->stall_s * INT64_C(1000) + (int64_t)(size * UINT64_C(1000) / SLOWEST_BYTES_PER_S);
}

bool changefeed_options_allow_origin(const struct changefeed_options *options, struct bytes origin)
{
	if (options->cors_any)
		return true;
	for (char **allowed = options->cors_origins; allowed != NULL && *allowed != NULL; allowed++) {
		if (bytes_equal(bytes_of(*allowed), origin))
			return true;
	}
	return false;
}
