/*
 * main.c: the program pg_changefeed. Reads the command line and becomes the master, or looks at a
 * configuration.
 */
#include <stdio.h>
#include <sysexits.h>

#include "http/routes.h"
#include "log.h"
#include "master/master.h"
#include "master/options.h"

/* --check: what a start would say about h2o.conf. */
static int check_configuration(const char *path)
{
	struct conf_source source;
	struct buffer error = {0};
	bool right = false;

	if (conf_source_read(path, &source, &error)) {
		right = conf_check(&source, &routes_hooks, &error);
		conf_source_free(&source);
	}
	if (right)
		printf("%s: ok\n", path);
	else
		fprintf(stderr, "%s\n", buffer_message(&error));
	buffer_free(&error);
	return right ? 0 : EX_CONFIG;
}

int main(int argc, char **argv)
{
	static struct options options; /* and not of the stack: see master_run() */

	switch (options_read(argc, argv, &options)) {
	case OPTIONS_DONE:
		return 0;
	case OPTIONS_WRONG:
		return EX_USAGE;
	case OPTIONS_RUN:
		break;
	}
	if (options.check)
		return check_configuration(options.config);
	log_open("master");
	return master_run(&options);
}
