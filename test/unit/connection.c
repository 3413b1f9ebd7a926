/* connection.c: what a session is told before it is used, by the server's version. libpq is the test's own. */
#include "tap.h"

#include "feed/connection.h"

static int version;        /* of the server */
static char commands[256]; /* that were sent to it, each in brackets */
static bool answering;

int PQserverVersion(const PGconn *connection)
{
	(void)connection;
	return version;
}

const char *PQparameterStatus(const PGconn *connection, const char *name)
{
	(void)connection;
	return strcmp(name, "client_encoding") == 0 ? "UTF8" : "LATIN1"; /* and server_encoding */
}

char *PQescapeLiteral(PGconn *connection, const char *text, size_t size)
{
	char *literal = malloc(size + 3);
	(void)connection;
	snprintf(literal, size + 3, "'%.*s'", (int)size, text);
	return literal;
}

void PQfreemem(void *memory)
{
	free(memory);
}

int PQsendQuery(PGconn *connection, const char *query)
{
	size_t size = strlen(commands);
	(void)connection;
	snprintf(commands + size, sizeof(commands) - size, "[%s]", query);
	answering = true;
	return 1;
}

int PQisBusy(PGconn *connection)
{
	(void)connection;
	return 0;
}

PGresult *PQgetResult(PGconn *connection)
{
	static int result; /* never looked into */
	(void)connection;
	bool answered = answering;
	answering = false;
	return answered ? (PGresult *)&result : NULL;
}

ExecStatusType PQresultStatus(const PGresult *result)
{
	(void)result;
	return PGRES_COMMAND_OK;
}

int PQntuples(const PGresult *result)
{
	(void)result;
	return 0;
}

void PQclear(PGresult *result)
{
	(void)result;
}

static const char *pinned(int server_version)
{
	struct connection connection = {.stop_fd = -1};
	static struct failure failure;

	version = server_version;
	commands[0] = '\0';
	return connection_pin_rest(&connection, &failure) ? commands : failure.text;
}

int main(void)
{
	is_text(pinned(160004), "[SET client_encoding = 'LATIN1']",
			"the database's own encoding; version 16 knows no transaction_timeout");
	is_text(pinned(170000), "[SET client_encoding = 'LATIN1'][SET transaction_timeout = '0']",
			"from version 17 on a transaction may take as long as its decoding takes");
	return tap_end();
}
