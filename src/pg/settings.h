/*
 * settings.h: the changefeed.* settings of postgresql.conf.
 *
 * All of them are what the program is started with, so they change with a restart of the server only, except
 * changefeed.enabled, which a reload changes. Strings are never NULL, and belong to PostgreSQL.
 */
#ifndef CHANGEFEED_PG_SETTINGS_H
#define CHANGEFEED_PG_SETTINGS_H

#include "postgres.h"

extern char *setting_database;    /* whose changes are fed */
extern char *setting_config_file; /* the h2o.conf */
extern char *setting_slot;
extern char *setting_publication;
extern char *setting_ring_file;
extern int setting_ring_size_mb;
extern char *setting_conninfo; /* empty: this server */
extern bool setting_enabled;

/* Called once for each process, from _PG_init(). */
void settings_define(void);

/* The absolute path of the ring file, in palloc'd memory. */
char *settings_ring_path(void);

#endif
