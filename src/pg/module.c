/*
 * module.c: what happens when PostgreSQL loads the library.
 *
 * Loaded through shared_preload_libraries it defines the settings and registers the launcher. Loaded later,
 * by a SQL function in a server that does not preload it, it defines the settings only: the functions work on
 * a ring that somebody else fills, and status() says what is missing.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "pg/compat.h"
#include "pg/launcher.h"
#include "pg/settings.h"

CHANGEFEED_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void _PG_init(void)
{
	settings_define();
	/* pg_upgrade starts the server for itself only, and wants nobody to use its slots meanwhile */
	if (process_shared_preload_libraries_in_progress && !IsBinaryUpgrade)
		launcher_register();
}
