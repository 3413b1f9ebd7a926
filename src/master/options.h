/*
 * options.h: the command line, named like pg_recvlogical's -> struct options. Nothing is opened or connected
 * here.
 */
#ifndef CHANGEFEED_MASTER_OPTIONS_H
#define CHANGEFEED_MASTER_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct options {
	char *conninfo; /* owned: complete, in libpq's notation, made of --dbname, --host, --port, --username */
	const char *slot;
	const char *publication;
	const char *config;
	const char *ring_file;
	uint64_t ring_size; /* bytes */
	bool check;         /* only look at the configuration */
	bool launched;      /* standard input is the lifeline of whoever launched us */
};

enum options_result { OPTIONS_RUN, OPTIONS_DONE, OPTIONS_WRONG };

/*
 * Reads the command line and the environment variable PG_CHANGEFEED_CONNINFO, which takes the place of the
 * connection options (it may hold a password, and command lines can be read by all). OPTIONS_DONE: --help or
 * --version has been answered. OPTIONS_WRONG: standard error says why. *ret_options is set only with
 * OPTIONS_RUN.
 */
enum options_result options_read(int argc, char **argv, struct options *ret_options);

#endif
