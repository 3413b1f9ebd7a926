/*
 * settings.c: defines the changefeed.* settings.
 *
 * Data in: postgresql.conf. Data out: the variables of settings.h. Invariant: the values mean the same in
 * every process of the server, also in a backend that loads the library by itself because it is not in
 * shared_preload_libraries: there they come from the configuration files and no session can change them.
 * It deliberately does not check what only the program can know, such as whether the database exists.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port.h"
#include "utils/guc.h"

#include "pg/compat.h"
#include "pg/settings.h"

enum { RING_SIZE_DEFAULT_MB = 256, RING_SIZE_MAX_MB = 1024 * 1024 };

char *setting_database;
char *setting_config_file;
char *setting_slot;
char *setting_publication;
char *setting_ring_file;
int setting_ring_size_mb;
char *setting_conninfo;
bool setting_enabled;

/* Names of databases and publications go into the ring's header, which has room for a PostgreSQL name. */
static bool check_name(char **value, void **extra, GucSource source)
{
	if (**value != '\0' && strlen(*value) < NAMEDATALEN)
		return true;
	GUC_check_errdetail("It must be a name of 1 to %d bytes.", NAMEDATALEN - 1);
	return false;
}

/* PostgreSQL's rule for the names of slots. */
static bool check_slot(char **value, void **extra, GucSource source)
{
	if (!check_name(value, extra, source))
		return false;
	if (strspn(*value, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(*value))
		return true;
	GUC_check_errdetail(
		"The name of a replication slot consists of lower case letters, digits and underscores.");
	return false;
}

static bool check_path(char **value, void **extra, GucSource source)
{
	if (**value != '\0' && strlen(*value) < MAXPGPATH)
		return true;
	GUC_check_errdetail("It must be the path of a file.");
	return false;
}

static char *default_config_file(void)
{
	static char path[MAXPGPATH];
	char share[MAXPGPATH];

	get_share_path(my_exec_path, share);
	snprintf(path, sizeof(path), "%s/pg_changefeed/h2o.conf", share);
	return path;
}

static void define_string(const char *name, const char *description, char **variable, const char *initial,
						  int flags, GucStringCheckHook check)
{
	/* after the start of the server PostgreSQL takes no new setting that only a restart could change */
	GucContext context = process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP;

	DefineCustomStringVariable(name, description, NULL, variable, initial, context, flags, check, NULL, NULL);
}

void settings_define(void)
{
	GucContext context = process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP;

	define_string("changefeed.database", "Database whose changes are fed.", &setting_database, "postgres", 0,
				  check_name);
	define_string("changefeed.config_file", "The h2o.conf of the HTTP side.", &setting_config_file,
				  default_config_file(), GUC_SUPERUSER_ONLY, check_path);
	define_string("changefeed.slot", "Replication slot of the feed; made if there is none.", &setting_slot,
				  "changefeed", 0, check_slot);
	define_string("changefeed.publication", "Publication that says what is fed.", &setting_publication,
				  "changefeed", 0, check_name);
	define_string("changefeed.ring_file", "File of the retained changes, relative to the data directory.",
				  &setting_ring_file, "pg_changefeed/ring", GUC_SUPERUSER_ONLY, check_path);
	/* may hold a password */
	define_string("changefeed.conninfo", "Connection string of the feed; empty for this server.",
				  &setting_conninfo, "", GUC_SUPERUSER_ONLY, NULL);
	DefineCustomIntVariable("changefeed.ring_size", "Size of the retained history of changes.", NULL,
							&setting_ring_size_mb, RING_SIZE_DEFAULT_MB, 1, RING_SIZE_MAX_MB, context,
							GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomBoolVariable("changefeed.enabled", "Runs the feed and the HTTP side.", NULL, &setting_enabled,
							 true, PGC_SIGHUP, 0, NULL, NULL, NULL);
	settings_prefix_reserve("changefeed");
}

char *settings_ring_path(void)
{
	char *path = is_absolute_path(setting_ring_file) ? pstrdup(setting_ring_file)
													 : psprintf("%s/%s", DataDir, setting_ring_file);

	canonicalize_path(path);
	return path;
}
