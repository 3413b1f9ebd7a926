/* options.c: see options.h. */
#include "master/options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "core/bytes.h"
#include "core/ring/ring_file.h"

enum {
	OPTION_PUBLICATION = 256,
	OPTION_CONFIG,
	OPTION_RING_FILE,
	OPTION_RING_SIZE,
	OPTION_CHECK,
	OPTION_LAUNCHED,
	OPTION_HELP,
	OPTION_VERSION
};

static const struct option long_options[] = {
	{"dbname", required_argument, NULL, 'd'},
	{"host", required_argument, NULL, 'h'},
	{"port", required_argument, NULL, 'p'},
	{"username", required_argument, NULL, 'U'},
	{"slot", required_argument, NULL, 'S'},
	{"publication", required_argument, NULL, OPTION_PUBLICATION},
	{"config", required_argument, NULL, OPTION_CONFIG},
	{"ring-file", required_argument, NULL, OPTION_RING_FILE},
	{"ring-size", required_argument, NULL, OPTION_RING_SIZE},
	{"check", no_argument, NULL, OPTION_CHECK},
	{"launched", no_argument, NULL, OPTION_LAUNCHED},
	{"help", no_argument, NULL, OPTION_HELP},
	{"version", no_argument, NULL, OPTION_VERSION},
	{NULL, 0, NULL, 0},
};

static const char usage[] =
	"pg_changefeed serves the committed changes of PostgreSQL over HTTP.\n"
	"\n"
	"Usage:\n"
	"  pg_changefeed [OPTION]...\n"
	"\n"
	"Connection:\n"
	"  -d, --dbname=DBNAME      database, or a connection string (default: libpq's)\n"
	"  -h, --host=HOSTNAME      server's host or socket directory\n"
	"  -p, --port=PORT          server's port\n"
	"  -U, --username=NAME      a role with REPLICATION; passwords come from ~/.pgpass or PGPASSWORD\n"
	"  -S, --slot=SLOTNAME      replication slot, made if there is none (default: changefeed)\n"
	"      --publication=NAME   publication that says what is served (default: changefeed)\n"
	"\n"
	"Service:\n"
	"      --config=FILE        h2o.conf (default: " PG_CHANGEFEED_CONFIG ")\n"
	"      --ring-file=FILE     where changes are retained (default: pg_changefeed.ring)\n"
	"      --ring-size=SIZE     size of the ring in kB, MB or GB (default: 256MB, at least 1MB)\n"
	"      --check              look at the configuration, say what is wrong with it, and end\n"
	"      --help               this text\n"
	"      --version            the version\n"
	"\n"
	"SIGHUP takes over a changed h2o.conf and its certificates; SIGTERM ends it.\n";

static bool parse_size(const char *text, uint64_t *ret_size)
{
	static const struct {
		const char *unit;
		uint64_t factor;
	} units[] = {{"kB", 1 << 10}, {"MB", 1 << 20}, {"GB", 1 << 30}};
	size_t digits = strspn(text, "0123456789");
	uint64_t number;

	if (!bytes_parse_u64((struct bytes){text, digits}, &number) || number > UINT32_MAX)
		return false;
	for (size_t i = 0; i < COUNT(units); i++) {
		if (strcmp(text + digits, units[i].unit) == 0 && number * units[i].factor >= RING_MIN_CAPACITY) {
			*ret_size = number * units[i].factor;
			return true;
		}
	}
	return false;
}

/* keyword='value', where the value's quotes and backslashes are escaped (libpq, "Keyword/Value Connection
 * Strings"). */
static void append_keyword(struct buffer *out, const char *keyword, const char *value)
{
	if (value == NULL)
		return;
	buffer_printf(out, "%s%s='", out->size > 0 ? " " : "", keyword);
	for (; *value != '\0'; value++) {
		if (*value == '\'' || *value == '\\')
			buffer_append_char(out, '\\');
		buffer_append_char(out, *value);
	}
	buffer_append_char(out, '\'');
}

/* --dbname may be a connection string or a URI, as everywhere in PostgreSQL. Returns false if it is a wrong
 * one. */
static bool append_database(struct buffer *out, const char *dbname)
{
	bool is_string =
		dbname != NULL && (strchr(dbname, '=') != NULL || strncmp(dbname, "postgresql://", 13) == 0 ||
						   strncmp(dbname, "postgres://", 11) == 0);
	char *error = NULL;

	if (!is_string) {
		append_keyword(out, "dbname", dbname);
		return true;
	}
	PQconninfoOption *parts = PQconninfoParse(dbname, &error);
	if (parts == NULL) {
		fprintf(stderr, "pg_changefeed: %s", error != NULL ? error : "out of memory\n");
		PQfreemem(error);
		return false;
	}
	for (PQconninfoOption *part = parts; part->keyword != NULL; part++)
		append_keyword(out, part->keyword, part->val);
	PQconninfoFree(parts);
	return true;
}

struct connection_options {
	const char *dbname, *host, *port, *username;
};

static bool make_conninfo(const struct connection_options *connection, char **ret_conninfo)
{
	struct buffer out = {0};
	const char *whole = getenv("PG_CHANGEFEED_CONNINFO");

	if (!append_database(&out, whole != NULL ? whole : connection->dbname)) {
		buffer_free(&out);
		return false;
	}
	if (whole == NULL) {
		append_keyword(&out, "host", connection->host);
		append_keyword(&out, "port", connection->port);
		append_keyword(&out, "user", connection->username);
	}
	*ret_conninfo = buffer_string(&out);
	return *ret_conninfo != NULL;
}

/* One option of getopt. Returns OPTIONS_RUN to go on. */
static enum options_result take_option(int option, struct options *options,
									   struct connection_options *connection)
{
	switch (option) {
	case 'd':
		connection->dbname = optarg;
		break;
	case 'h':
		connection->host = optarg;
		break;
	case 'p':
		connection->port = optarg;
		break;
	case 'U':
		connection->username = optarg;
		break;
	case 'S':
		options->slot = optarg;
		break;
	case OPTION_PUBLICATION:
		options->publication = optarg;
		break;
	case OPTION_CONFIG:
		options->config = optarg;
		break;
	case OPTION_RING_FILE:
		options->ring_file = optarg;
		break;
	case OPTION_RING_SIZE:
		if (parse_size(optarg, &options->ring_size))
			break;
		fprintf(stderr,
				"pg_changefeed: --ring-size is a number with kB, MB or GB, at least 1MB, not \"%s\"\n",
				optarg);
		return OPTIONS_WRONG;
	case OPTION_CHECK:
		options->check = true;
		break;
	case OPTION_LAUNCHED:
		options->launched = true;
		break;
	case OPTION_HELP:
		fputs(usage, stdout);
		return OPTIONS_DONE;
	case OPTION_VERSION:
		puts("pg_changefeed " PG_CHANGEFEED_VERSION);
		return OPTIONS_DONE;
	default:
		fputs("Try \"pg_changefeed --help\".\n", stderr);
		return OPTIONS_WRONG;
	}
	return OPTIONS_RUN;
}

/* Names of the ring's identity have PostgreSQL's length. */
static bool check_name(const char *what, const char *name)
{
	if (name[0] != '\0' && strlen(name) < RING_NAME_SIZE)
		return true;
	fprintf(stderr, "pg_changefeed: the name of the %s has 1 to %d bytes\n", what, RING_NAME_SIZE - 1);
	return false;
}

/* Ports are numbers, several with commas for several hosts; libpq would say so only when it connects. */
static bool check_port(const char *port)
{
	if (port == NULL || (port[0] != '\0' && strspn(port, "0123456789,") == strlen(port)))
		return true;
	fprintf(stderr, "pg_changefeed: --port is a number, not \"%s\"\n", port);
	return false;
}

enum options_result options_read(int argc, char **argv, struct options *ret_options)
{
	struct options options = {.slot = "changefeed",
							  .publication = "changefeed",
							  .config = PG_CHANGEFEED_CONFIG,
							  .ring_file = "pg_changefeed.ring",
							  .ring_size = UINT64_C(256) << 20};
	struct connection_options connection = {0};
	enum options_result result = OPTIONS_RUN;
	int option;

	while (result == OPTIONS_RUN &&
		   (option = getopt_long(argc, argv, "d:h:p:U:S:", long_options, NULL)) != -1)
		result = take_option(option, &options, &connection);
	if (result != OPTIONS_RUN)
		return result;
	if (optind < argc) {
		fprintf(stderr, "pg_changefeed: unexpected argument \"%s\"\nTry \"pg_changefeed --help\".\n",
				argv[optind]);
		return OPTIONS_WRONG;
	}
	if (!check_name("slot", options.slot) || !check_name("publication", options.publication) ||
		!check_port(connection.port) || !make_conninfo(&connection, &options.conninfo))
		return OPTIONS_WRONG;
	*ret_options = options;
	return OPTIONS_RUN;
}
