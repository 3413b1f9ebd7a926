/* conf.c: h2o.conf is read through libh2o, and every mistake in it is named with file, line and column. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <unistd.h>

#include "http/conf/conf.h"
#include "tap.h"

#define LISTEN "listen: {host: 127.0.0.1, port: 7080}\n"
#define HOSTS  "hosts: {default: {paths: {/cdc: {changefeed: ON}}}}\n"

/* For LeakSanitizer: libh2o never frees some of what its configurators allocate. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libh2o";
}

static char directory[] = "/tmp/conf_test_XXXXXX";

/* What the hooks saw, as text: "/cdc=feed(10,1000,30,0,-) /=page0 ..." */
static struct buffer seen;

static void see_changefeed(h2o_pathconf_t *path, const struct changefeed_options *options)
{
	buffer_printf(&seen, "%.*s=feed(%u,%u,%u,%u,%s) ", (int)path->path.len, path->path.base,
				  options->heartbeat_s, options->retry_ms, options->stall_s, options->lifetime_s,
				  options->tenant_column == NULL ? "-" : options->tenant_column);
}

static void see_page(h2o_pathconf_t *path, enum conf_page page)
{
	buffer_printf(&seen, "%.*s=page%d ", (int)path->path.len, path->path.base, (int)page);
}

static const struct conf_hooks hooks = {see_changefeed, see_page};

static struct conf_source source_of(const char *text)
{
	struct conf_source source = {.path = strdup("h2o.conf")};
	buffer_append_string(&source.text, text);
	return source;
}

static const struct tls_ticket_keys *ticket_keys;

/* Loads a text; on failure returns NULL with the message, 0 at its end, in *ret_error. */
static struct conf *load(const char *text, struct buffer *ret_error)
{
	struct conf_source source = source_of(text);
	buffer_clear(&seen);
	struct conf *conf = conf_load(&source, &hooks, ticket_keys, ret_error);
	buffer_string(ret_error);
	conf_source_free(&source);
	return conf;
}

/* What libh2o itself refuses. Where it binds its own functions, as Ubuntu's does, it says it as `printed`. */
static void library_refuses(const char *name, const char *text, const char *wanted, const char *printed)
{
	struct buffer error = {0};
	struct conf *conf = load(text, &error);
	if (ok(conf == NULL, "%s: refused", name))
		is_text(error.data, strcmp(error.data, printed) == 0 ? printed : wanted, "%s: says where and why",
				name);
	else
		conf_free(conf);
	buffer_free(&error);
}

static void refuses(const char *name, const char *text, const char *wanted)
{
	library_refuses(name, text, wanted, wanted);
}

static void accepts(const char *name, const char *text, const char *wanted)
{
	struct buffer error = {0};
	struct conf *conf = load(text, &error);
	if (ok(conf != NULL, "%s: accepted", name)) {
		is_bytes(buffer_bytes(&seen), wanted, "%s: paths", name);
		conf_free(conf);
	} else {
		printf("#   %s\n", error.data);
	}
	buffer_free(&error);
}

static const char pages[] = "/=page0 /healthz=page1 /readyz=page2 /metrics=page3 ";

static void test_paths(void)
{
	char wanted[512];
	snprintf(wanted, sizeof(wanted), "/cdc=feed(10,1000,30,0,-) %s", pages);
	accepts("ON", LISTEN HOSTS, wanted);
	accepts("OFF", LISTEN "hosts: {default: {paths: {/cdc: {changefeed: OFF}}}}", pages);
	accepts("pages that the file maps",
			LISTEN "hosts: {default: {paths: {/: {changefeed: ON}, /metrics: {}}}}",
			"/=feed(10,1000,30,0,-) /healthz=page1 /readyz=page2 ");
	snprintf(wanted, sizeof(wanted), "/cdc=feed(3,250,60,3600,tenant) %s", pages);
	accepts("all options",
			LISTEN
			"hosts:\n  default:\n    paths:\n      /cdc:\n        changefeed:\n          heartbeat: 3\n"
			"          retry: 250\n          stall-timeout: 60\n          stream-lifetime: 3600\n"
			"          tenant-column: tenant\n"
			"          cors: [https://a.example, 'http://localhost:3000']\n",
			wanted);
	snprintf(wanted, sizeof(wanted), "/cdc=feed(5,1000,30,0,-) %s/cdc=feed(9,1000,30,0,-) %s", pages, pages);
	accepts("anchors and merge keys",
			LISTEN "hosts:\n  a: {paths: {/cdc: {changefeed: &feed {heartbeat: 5}}}}\n"
				   "  b: {paths: {/cdc: {changefeed: {<<: *feed, heartbeat: 9}}}}\n",
			wanted);
	accepts("directives of libh2o",
			LISTEN "access-log: /dev/stderr\ncompress: [gzip]\nexpires: 1 day\nheader.set: 'X-A: b'\n"
				   "http2-idle-timeout: 20\nlimit-request-body: 1000\nhttp1-request-timeout: 5\n"
				   "error-doc: {status: 404, url: /404.html}\nsetenv: {a: b}\nserver-name: x\n"
				   "hosts:\n  'a.example:80':\n    listen: {host: 127.0.0.1, port: 81}\n    paths:\n"
				   "      /f: {file.dir: /nowhere, throttle-response: ON}\n      /r: {redirect: /f}\n"
				   "      /s: [{status: ON}, {header.add: 'X-C: d'}]\n",
			pages);
}

static void test_yaml_mistakes(void)
{
	refuses("nothing", "", "h2o.conf:1:1: the file is empty");
	refuses("no YAML", "listen: [\n", "h2o.conf:2:1: did not find expected node content");
	refuses("a tab", "listen:\n\t- 80\n", "h2o.conf:2:1: found character that cannot start any token");
	refuses("no mapping", "- listen\n",
			"h2o.conf:1:1: the file has to be a mapping of directives, such as listen and hosts");
	refuses("a circle", LISTEN "hosts: &a {default: {paths: *a}}\n",
			"h2o.conf:2:8: an alias makes this contain itself");
	refuses("a tag", LISTEN "hosts: !file other.yaml\n",
			"h2o.conf:2:8: tags such as !file are not supported");
	refuses("two documents", LISTEN HOSTS "---\na: b\n", "h2o.conf:3:1: a second document in the file");
	refuses("an odd merge", LISTEN "<<: 1\n" HOSTS,
			"h2o.conf:2:1: the value of << has to be a mapping or a list of mappings");
	refuses("NUL", LISTEN "hosts: \"a\\0b\"\n", "h2o.conf:2:8: a value cannot hold a NUL character");
	library_refuses("a line break in a name", LISTEN "\"a\\nb\": 1\n" HOSTS,
					"h2o.conf:2:1: unknown command: a?b", "h2o.conf:2:1: unknown command: a");
	refuses("an alias of nothing", LISTEN "hosts: *nothing\n", "h2o.conf:2:8: found undefined alias");

	struct buffer deep = {0}, laughs = {0};
	buffer_append_string(&deep, LISTEN "a: ");
	for (int i = 0; i < 40; i++)
		buffer_append_char(&deep, '[');
	for (int i = 0; i < 40; i++)
		buffer_append_char(&deep, ']');
	refuses("deep nesting", buffer_string(&deep), "h2o.conf:2:35: nested too deeply");
	buffer_append_string(&laughs, LISTEN "a: &a0 [x]\n");
	for (int i = 1; i < 20; i++)
		buffer_printf(&laughs, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d]\n", i, i, i - 1, i - 1, i - 1, i - 1);
	refuses("a billion laughs", buffer_string(&laughs),
			"h2o.conf:9:5: the file, with its aliases written out, is too large");
	buffer_free(&deep);
	buffer_free(&laughs);
}

static void test_directive_mistakes(void)
{
	refuses("an unknown directive", LISTEN "no-such-directive: 1\n" HOSTS,
			"h2o.conf:2:1: unknown command: no-such-directive");
	refuses("no hosts", LISTEN, "h2o.conf:1:1: mandatory configuration directive `hosts` is missing");
	library_refuses("no paths", LISTEN "hosts:\n  default: {}\n",
					"h2o.conf:3:12: mandatory configuration directive `paths` is missing",
					"h2o.conf:3:1: mandatory configuration directive `paths` is missing");
	library_refuses("a wrong level", LISTEN "changefeed: ON\n" HOSTS,
					"h2o.conf:2:1: changefeed: the command cannot be used at this level",
					"h2o.conf:2:1: in command changefeed, the command cannot be used at this level");
	refuses("an empty path", LISTEN "hosts: {default: {paths: {'': {changefeed: ON}}}}\n",
			"h2o.conf:2:27: paths: a path has to begin with /");
	refuses("a log that is a program", LISTEN "access-log: '|cat'\n" HOSTS,
			"h2o.conf:2:13: access-log: a log cannot be piped into a program; name a file");
	refuses("the same in a mapping", LISTEN "access-log: {format: '%h', path: '|cat'}\n" HOSTS,
			"h2o.conf:2:34: access-log: a log cannot be piped into a program; name a file");
	refuses("a log that cannot be opened", LISTEN "access-log: /nonexistent/log\n" HOSTS,
			"h2o.conf:2:13: access-log: /nonexistent/log cannot be opened: No such file or directory");
	refuses("a log's format that is none", LISTEN "access-log: {path: /dev/null, format: '%{x}Q'}\n" HOSTS,
			"h2o.conf:2:39: access-log: failed to compile log format: header name is not followed by either "
			"`i`, `o`, "
			"`x`, `e`");
	char text[1024], format[512];
	memset(format, 'x', sizeof(format));
	format[sizeof(format) - 1] = '\0';
	snprintf(text, sizeof(text), LISTEN "access-log: {path: /dev/null, format: '%%{%s'}\n" HOSTS, format);
	char wanted[1024];
	snprintf(wanted, sizeof(wanted),
			 "h2o.conf:2:39: access-log: failed to compile log format: unterminated header name starting at: "
			 "\"%s\"",
			 format);
	refuses("a long format without an end", text, wanted);
	refuses("a log without a path", LISTEN "access-log: {format: '%h'}\n" HOSTS,
			"h2o.conf:2:13: access-log: it has to be a file name, or a mapping with a path");
	refuses("a directive of the standalone server", LISTEN "user: nobody\n" HOSTS,
			"h2o.conf:2:7: user is not supported by pg_changefeed: start pg_changefeed as the user it is to "
			"run as");
	refuses(
		"a directive that ends streams", LISTEN "http2-graceful-shutdown-timeout: 5\n" HOSTS,
		"h2o.conf:2:34: http2-graceful-shutdown-timeout is not supported by pg_changefeed: old workers keep "
		"their streams, see stream-lifetime of changefeed");
	refuses("one by which clients could abort libh2o",
			LISTEN "http2-max-concurrent-requests-per-connection: 50\n" HOSTS,
			"h2o.conf:2:47: http2-max-concurrent-requests-per-connection is not supported by pg_changefeed: "
			"it is "
			"100");
	refuses("a handler that is not here", LISTEN "hosts: {default: {paths: {/: {proxy.reverse.url: x}}}}\n",
			"h2o.conf:2:50: proxy.reverse.url is not supported by pg_changefeed: put a proxy in front of it "
			"instead");
	refuses(
		"a custom handler", LISTEN "file.custom-handler: {extension: .php}\n" HOSTS,
		"h2o.conf:2:22: file.custom-handler is not supported by pg_changefeed: there are no handlers that it "
		"could use");
	library_refuses("a number of libh2o", LISTEN "limit-request-body: much\n" HOSTS,
					"h2o.conf:2:21: limit-request-body: argument must match the format: %zu",
					"h2o.conf:2:1: in command limit-request-body, argument must match the format: %zu");
	refuses("num-threads", LISTEN "num-threads: 65\n" HOSTS,
			"h2o.conf:2:14: num-threads has to be a whole number from 1 to 64");
	refuses("max-connections", LISTEN "max-connections: -1\n" HOSTS,
			"h2o.conf:2:18: max-connections has to be a whole number from 1 to 1000000");
}

static void refuses_option(const char *option, const char *wanted)
{
	char text[512];
	snprintf(text, sizeof(text),
			 LISTEN "hosts:\n  default:\n    paths:\n      /cdc:\n        changefeed:\n          %s\n",
			 option);
	refuses(option, text, wanted);
}

static void test_changefeed_mistakes(void)
{
	static const char cors[] =
		"h2o.conf:7:17: cors has to be \"*\", an origin such as https://app.example:8443 "
		"(lower case, no path), or a list of origins";
	refuses("neither ON nor OFF", LISTEN "hosts: {default: {paths: {/cdc: {changefeed: maybe}}}}\n",
			"h2o.conf:2:46: changefeed has to be ON or OFF");
	refuses_option("[]", "h2o.conf:7:11: changefeed has to be a mapping of heartbeat, retry, stall-timeout, "
						 "stream-lifetime, tenant-column, messages, cors");
	refuses_option("heart-beat: 1",
				   "h2o.conf:7:11: changefeed has no option \"heart-beat\"; there are heartbeat, "
				   "retry, stall-timeout, stream-lifetime, tenant-column, messages, cors");
	refuses_option("heart: 1",
				   "h2o.conf:7:11: changefeed has no option \"heart\"; there are heartbeat, retry, "
				   "stall-timeout, stream-lifetime, tenant-column, messages, cors");
	refuses_option("heartbeat: soon",
				   "h2o.conf:7:22: heartbeat (seconds) has to be a whole number from 1 to 15");
	refuses_option("heartbeat: 16",
				   "h2o.conf:7:22: heartbeat (seconds) has to be a whole number from 1 to 15");
	refuses_option("heartbeat: 4294967297",
				   "h2o.conf:7:22: heartbeat (seconds) has to be a whole number from 1 to 15");
	refuses_option("stream-lifetime: 604801",
				   "h2o.conf:7:28: stream-lifetime (seconds) has to be a whole number from 0 to 604800");
	refuses_option("stream-lifetime: OFF",
				   "h2o.conf:7:28: stream-lifetime (seconds) has to be a whole number from 0 to 604800");
	refuses_option("{retry: 1, retry: 2}", "h2o.conf:7:22: changefeed: \"retry\" is given twice");
	refuses_option("retry:",
				   "h2o.conf:7:17: retry (milliseconds) has to be a whole number from 0 to 3600000");
	refuses_option("messages: perhaps", "h2o.conf:7:21: messages has to be ON or OFF");
	refuses_option("tenant-column: ''", "h2o.conf:7:26: tenant-column has to be a text that is not empty");
	refuses_option("cors: app.example", cors);
	refuses_option("cors: https://app.example/", cors);
	refuses_option("cors: https://App.example", cors);
	refuses_option("cors: 'https://'", cors);
	refuses_option("cors: {a: b}", cors);
}

static void test_cors(void)
{
	struct yaml_tree tree;
	struct buffer error = {0};
	struct changefeed_options options;
	bool on = false;
	if (!ok(yaml_tree_parse("f", BYTES("cors: ['https://a.example', 'http://b:81']"), &tree, &error) &&
				changefeed_options_read(tree.root, &on, &options, &error),
			"a list of origins"))
		return;
	ok(on, "a mapping turns it on");
	is_u64((uint64_t)changefeed_options_patience_ms(&options, 1 << 20), options.stall_s * 1000 + 64000,
		   "a client has a minute more for a megabyte");
	ok(changefeed_options_allow_origin(&options, BYTES("http://b:81")), "an origin of the list");
	ok(!changefeed_options_allow_origin(&options, BYTES("http://b:8")), "a part of an origin is not one");
	ok(!changefeed_options_allow_origin(&options, BYTES("https://c.example")), "an origin not in the list");
	changefeed_options_free(&options);
	yaml_tree_free(&tree);
	if (!ok(yaml_tree_parse("f", BYTES("cors: '*'"), &tree, &error) &&
				changefeed_options_read(tree.root, &on, &options, &error),
			"any origin"))
		return;
	ok(changefeed_options_allow_origin(&options, BYTES("https://c.example")), "is allowed then");
	changefeed_options_free(&options);
	yaml_tree_free(&tree);
	buffer_free(&error);
}

static void refuses_listen(const char *listen, const char *wanted)
{
	char text[512];
	snprintf(text, sizeof(text), HOSTS "listen: %s\n", listen);
	refuses(listen, text, wanted);
}

static void test_listen_mistakes(void)
{
	char wanted[512];
	static const char *foreign[][2] = {{"{host: 0.0.0.0, port: 80}", "0.0.0.0:80"},
									   {"80", "0.0.0.0:80"},
									   {"{host: '::', port: 80}", "[::]:80"},
									   {"{host: 192.0.2.1, port: 80}", "192.0.2.1:80"},
									   {"{host: '::ffff:8.8.8.8', port: 80}", "[::ffff:8.8.8.8]:80"}};
	for (size_t i = 0; i < COUNT(foreign); i++) {
		snprintf(
			wanted, sizeof(wanted),
			"h2o.conf:2:9: refusing to listen on %s, which other machines may reach: until authentication is "
			"configured only loopback addresses are allowed (host: 127.0.0.1, ::1 or localhost), or type: "
			"unix",
			foreign[i][1]);
		refuses_listen(foreign[i][0], wanted);
	}
	refuses("no listen", HOSTS, "h2o.conf:1:1: there is no listen in the file, so nobody could connect");
	refuses(
		"a foreign listener of a host",
		"hosts: {default: {listen: {host: 10.0.0.1, port: 1}, paths: {/cdc: {changefeed: ON}}}}\n",
		"h2o.conf:1:27: refusing to listen on 10.0.0.1:1, which other machines may reach: until "
		"authentication is "
		"configured only loopback addresses are allowed (host: 127.0.0.1, ::1 or localhost), or type: unix");
	refuses_listen("{host: example.com, port: 80}",
				   "h2o.conf:2:16: host has to be an IP address or localhost");
	refuses_listen("{host: 127.0.0.1}", "h2o.conf:2:9: listen needs a port");
	refuses_listen("{host: 127.0.0.1, port: 0}",
				   "h2o.conf:2:33: the port to listen on has to be a whole number from 1 to 65535");
	refuses_listen("http", "h2o.conf:2:9: the port to listen on has to be a whole number from 1 to 65535");
	refuses_listen("[[1]]", "h2o.conf:2:10: listen has to be a mapping of host, port, type, permission, ssl, "
							"proxy-protocol");
	refuses_listen("{prot: 1}",
				   "h2o.conf:2:10: listen has no option \"prot\"; there are host, port, type, permission, "
				   "ssl, proxy-protocol");
	refuses_listen("{type: udp, port: 1}", "h2o.conf:2:16: type has to be tcp or unix");
	refuses_listen("{type: unix, port: \"\"}",
				   "h2o.conf:2:28: with type: unix, port has to be a path of 1 to 107 bytes");
	refuses_listen("{type: unix, port: /x, permission: 888}",
				   "h2o.conf:2:44: permission has to be an octal number such as 660");
	refuses_listen("{host: 127.0.0.1, port: 1, proxy-protocol: ON}",
				   "h2o.conf:2:52: proxy-protocol is not supported by pg_changefeed");
	refuses_listen("{host: 127.0.0.1, port: 1, ssl: {key-file: x}}",
				   "h2o.conf:2:41: ssl needs both certificate-file and key-file");
	refuses_listen("{host: 127.0.0.1, port: 1, ssl: {minimum-version: TLSv1}}",
				   "h2o.conf:2:59: minimum-version has to be TLSv1.2 or TLSv1.3");
	refuses_listen("{host: 127.0.0.1, port: 1, ssl: {dh-file: x}}",
				   "h2o.conf:2:42: ssl has no option \"dh-file\"; there are certificate-file, key-file, "
				   "minimum-version, min-version, cipher-suite, cipher-preference");
	refuses_listen(
		"[{host: 127.0.0.1, port: 1}, {host: 127.0.0.1, port: 1, ssl: {key-file: a, certificate-file: b}}]",
		"h2o.conf:2:38: 127.0.0.1:1 cannot have ssl in one place and not in another: see h2o.conf:2:10");
}

static void test_outline(void)
{
	struct outline outline;
	struct buffer error = {0};
	struct conf_source source =
		source_of("num-threads: 3\nmax-connections: 500\nmax-connections-per-address: 7\n"
				  "listen: [{host: 127.0.0.2, port: 81}, {type: unix, port: /tmp/x, permission: 660}]\n"
				  "listen: {host: '::1', port: 82}\n"
				  "hosts: {a: {listen: {host: 127.0.0.2, port: 81}}}\n");
	if (!ok(conf_read_outline(&source, &outline, &error), "an outline needs no more than its own directives"))
		return;
	is_u64(outline.worker_count, 3, "num-threads");
	is_u64(outline.max_connections, 500, "max-connections");
	is_u64(outline.max_connections_per_address, 7, "max-connections-per-address");
	is_u64(outline.listener_count, 3, "listeners");
	is_text(outline.listeners[0].name, "127.0.0.2:81", "the first");
	is_u64(outline.listeners[0].declaration_count, 2, "is declared twice");
	is_text(outline.listeners[0].where, "h2o.conf:4:10", "in this place first");
	const struct sockaddr_in *ip4 = (const struct sockaddr_in *)&outline.listeners[0].address;
	ok(ip4->sin_addr.s_addr == inet_addr("127.0.0.2") && ip4->sin_port == htons(81), "its address");
	is_text(outline.listeners[1].name, "unix:/tmp/x", "the second");
	is_u64(outline.listeners[1].permission, 0660, "its permission");
	is_text(outline.listeners[2].name, "[::1]:82", "the third");
	outline_free(&outline);
	conf_source_free(&source);

	source = source_of("listen: {host: localhost, port: 80}\n");
	if (!ok(conf_read_outline(&source, &outline, &error), "localhost"))
		return;
	is_text(outline.listeners[0].name, "127.0.0.1:80", "localhost is 127.0.0.1");
	ok(outline.listener_count == 1 || strcmp(outline.listeners[1].name, "[::1]:80") == 0,
	   "and ::1 where there is IPv6");
	ok(outline.worker_count >= 1 && outline.worker_count <= 8, "a default for num-threads");
	is_u64(outline.max_connections, 20000, "a default for max-connections");
	is_u64(outline.max_connections_per_address, 0, "a default for max-connections-per-address");
	ok(!outline.logs_access, "no access-log");
	outline_free(&outline);
	conf_source_free(&source);

	source = source_of(
		"listen: {host: 127.0.0.1, port: 80}\nhosts: {a: {paths: {/: [{access-log: /tmp/log}]}}}\n");
	ok(conf_read_outline(&source, &outline, &error) && outline.logs_access, "an access-log, wherever it is");
	outline_free(&outline);
	conf_source_free(&source);
	buffer_free(&error);
}

static void test_hosts_of_listeners(void)
{
	struct buffer error = {0};
	struct conf *conf = load(LISTEN "hosts:\n  a: {listen: {host: 127.0.0.1, port: 1}, paths: {/: {}}}\n"
									"  b: {paths: {/: {}}}\n",
							 &error);
	if (!ok(conf != NULL, "a listener of one host"))
		return;
	ok(conf->accepts[0].hosts == conf->global.hosts, "the global listener serves all hosts");
	ok(conf->accepts[1].hosts[0] == conf->global.hosts[0] && conf->accepts[1].hosts[1] == NULL,
	   "the other one only its own");
	is_u64(conf->global.max_request_entity_size, 4096, "request bodies are limited to 4 kB");
	conf_free(conf);
	buffer_free(&error);
}

static const char *path_in_directory(const char *name)
{
	static char paths[4][128];
	static unsigned next;
	char *path = paths[next++ % 4];
	snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
	return path;
}

/* A self-signed certificate for `name` and its key, in NAME.pem and NAME.key. */
static void write_certificate(const char *name)
{
	char file[64];
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = X509_new();
	X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
	X509_set_pubkey(certificate, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
							   (const unsigned char *)name, -1, -1, 0);
	X509_sign(certificate, key, EVP_sha256());
	snprintf(file, sizeof(file), "%s.pem", name);
	FILE *out = fopen(path_in_directory(file), "w");
	PEM_write_X509(out, certificate);
	fclose(out);
	snprintf(file, sizeof(file), "%s.key", name);
	out = fopen(path_in_directory(file), "w");
	PEM_write_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL);
	fclose(out);
	X509_free(certificate);
	EVP_PKEY_free(key);
}

/*
 * A handshake in memory; writes the subject that the server showed, the protocol of ALPN, and whether
 * *session was resumed, which becomes the new session. `session` may be NULL.
 */
static void handshake(SSL_CTX *server_context, const char *server_name, int client_version,
					  SSL_SESSION **session, struct buffer *out)
{
	static const unsigned char protocols[] = "\x02h2\x08http/1.1";
	SSL_CTX *client_context = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_max_proto_version(client_context, client_version);
	SSL *client = SSL_new(client_context), *server = SSL_new(server_context);
	BIO *to_server, *to_client;
	BIO_new_bio_pair(&to_server, 0, &to_client, 0);
	SSL_set_bio(client, to_server, to_server);
	SSL_set_bio(server, to_client, to_client);
	SSL_set_connect_state(client);
	SSL_set_accept_state(server);
	SSL_set_alpn_protos(client, protocols, sizeof(protocols) - 1);
	if (server_name != NULL)
		SSL_set_tlsext_host_name(client, server_name);
	if (session != NULL && *session != NULL)
		SSL_set_session(client, *session);
	int done = 0;
	for (int i = 0; i < 10 && done != 1; i++) {
		done = SSL_do_handshake(client);
		SSL_do_handshake(server);
	}
	buffer_clear(out);
	if (done == 1) {
		char subject[64];
		const unsigned char *protocol;
		unsigned size;
		X509 *certificate = SSL_get1_peer_certificate(client);
		X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, subject,
								  sizeof(subject));
		SSL_get0_alpn_selected(client, &protocol, &size);
		buffer_printf(out, "%s %.*s%s", subject, (int)size, (const char *)protocol,
					  SSL_session_reused(client) ? " resumed" : "");
		X509_free(certificate);
	} else {
		buffer_append_string(out, "failed");
	}
	if (session != NULL) {
		SSL_SESSION_free(*session);
		*session = SSL_get1_session(client);
	}
	SSL_set_quiet_shutdown(client, 1);
	SSL_shutdown(client);
	SSL_free(client);
	SSL_free(server);
	SSL_CTX_free(client_context);
}

static void test_tls(void)
{
	char text[2048];
	struct buffer error = {0}, shown = {0};
	write_certificate("first");
	write_certificate("second");
	snprintf(text, sizeof(text),
			 "hosts:\n"
			 "  a.example: {listen: {host: 127.0.0.1, port: 1, ssl: {certificate-file: %s, key-file: %s}}, "
			 "paths: {/: {}}}\n"
			 "  '*.B.example': {listen: {host: 127.0.0.1, port: 1, ssl: {certificate-file: %s, key-file: %s, "
			 "minimum-version: TLSv1.3}}, paths: {/: {}}}\n",
			 path_in_directory("first.pem"), path_in_directory("first.key"), path_in_directory("second.pem"),
			 path_in_directory("second.key"));
	struct conf *conf = load(text, &error);
	if (!ok(conf != NULL, "two certificates on one address"))
		return;
	SSL_CTX *context = conf->accepts[0].ssl_ctx;
	handshake(context, NULL, TLS1_3_VERSION, NULL, &shown);
	is_bytes(buffer_bytes(&shown), "first h2", "without a name the first certificate; h2 is preferred");
	handshake(context, "a.example", TLS1_2_VERSION, NULL, &shown);
	is_bytes(buffer_bytes(&shown), "first h2", "the first by its name, with TLS 1.2");
	handshake(context, "x.b.example", TLS1_3_VERSION, NULL, &shown);
	is_bytes(buffer_bytes(&shown), "second h2", "the second by a name that its pattern has");
	handshake(context, "b.example", TLS1_3_VERSION, NULL, &shown);
	is_bytes(buffer_bytes(&shown), "first h2", "a name that no host has");
	handshake(context, "a.example", TLS1_1_VERSION, NULL, &shown);
	is_bytes(buffer_bytes(&shown), "failed", "TLS 1.1 is refused");

	uint64_t files = outline_files(&conf->outline);
	ok(files == outline_files(&conf->outline), "certificates that stay as they are");
	rename(path_in_directory("first.pem"), path_in_directory("old.pem"));
	write_certificate("first");
	ok(files != outline_files(&conf->outline), "one that is replaced");
	unlink(path_in_directory("old.pem"));
	conf_free(conf);
	buffer_free(&error);
	buffer_free(&shown);
}

/* What two workers do, which load the same file with the keys of their master. */
static void test_resumption(void)
{
	char text[1024];
	struct tls_ticket_keys keys, other_keys;
	struct buffer error = {0}, shown = {0};
	SSL_SESSION *session = NULL;
	snprintf(text, sizeof(text),
			 HOSTS "listen: {host: 127.0.0.1, port: 1, ssl: {certificate-file: %s, key-file: %s}}\n",
			 path_in_directory("first.pem"), path_in_directory("first.key"));
	if (!ok(tls_ticket_keys_generate(&keys) && tls_ticket_keys_generate(&other_keys),
			"keys of session tickets"))
		return;
	ok(memcmp(&keys, &other_keys, sizeof(keys)) != 0, "are drawn anew each time");
	ticket_keys = &keys;
	struct conf *one = load(text, &error), *two = load(text, &error);
	ticket_keys = &other_keys;
	struct conf *later = load(text, &error);
	ticket_keys = NULL;
	if (!ok(one != NULL && two != NULL && later != NULL, "three workers"))
		return;
	handshake(one->accepts[0].ssl_ctx, NULL, TLS1_2_VERSION, &session, &shown);
	is_bytes(buffer_bytes(&shown), "first h2", "a client's first connection");
	handshake(two->accepts[0].ssl_ctx, NULL, TLS1_2_VERSION, &session, &shown);
	is_bytes(buffer_bytes(&shown), "first h2 resumed", "another worker resumes its session");
	handshake(later->accepts[0].ssl_ctx, NULL, TLS1_2_VERSION, &session, &shown);
	is_bytes(buffer_bytes(&shown), "first h2",
			 "one with other keys does not, and the handshake is done in full");
	SSL_SESSION_free(session);
	conf_free(one);
	conf_free(two);
	conf_free(later);
	buffer_free(&error);
	buffer_free(&shown);
}

static void refuses_ssl(const char *name, const char *certificate, const char *key, const char *more,
						const char *wanted_place, const char *wanted)
{
	char text[512], message[512];
	snprintf(
		text, sizeof(text),
		HOSTS
		"listen:\n  host: 127.0.0.1\n  port: 1\n  ssl:\n    certificate-file: %s\n    key-file: %s\n    %s\n",
		certificate, key, more);
	snprintf(message, sizeof(message), "%s %s", wanted_place, wanted);
	refuses(name, text, message);
}

static void test_tls_mistakes(void)
{
	char wanted[256];
	const char *first = strdup(path_in_directory("first.pem")), *key = strdup(path_in_directory("first.key"));
	refuses_ssl("a missing certificate", "/nonexistent.pem", key, "", "h2o.conf:6:23:",
				"cannot use the certificate file /nonexistent.pem: No such file or directory");
	snprintf(wanted, sizeof(wanted), "cannot use the certificate file %s: no start line", key);
	refuses_ssl("a certificate that is none", key, key, "", "h2o.conf:6:23:", wanted);
	refuses_ssl("a missing key", first, "/nonexistent.key", "",
				"h2o.conf:7:15:", "cannot use the key file /nonexistent.key: No such file or directory");
	snprintf(wanted, sizeof(wanted), "cannot use the key file %s: key values mismatch",
			 path_in_directory("second.key"));
	refuses_ssl("another certificate's key", first, path_in_directory("second.key"), "",
				"h2o.conf:7:15:", wanted);
	refuses_ssl("an unknown cipher", first, key, "cipher-suite: ROT13",
				"h2o.conf:8:19:", "cannot use the cipher suite ROT13: no cipher match");
	free((char *)first);
	free((char *)key);
}

static void test_source(void)
{
	struct conf_source source;
	struct buffer error = {0};
	const char *path = path_in_directory("h2o.conf");
	FILE *file = fopen(path, "w");
	fputs(LISTEN, file);
	fclose(file);
	if (ok(conf_source_read(path, &source, &error), "a file is read")) {
		is_bytes(buffer_bytes(&source.text), LISTEN, "its text");
		is_text(source.path, path, "its name");
		conf_source_free(&source);
	}
	ok(!conf_source_read("/nonexistent/h2o.conf", &source, &error), "a file that is not there");
	is_bytes(buffer_bytes(&error), "/nonexistent/h2o.conf: cannot be read: No such file or directory",
			 "says so");
	buffer_clear(&error);
	ok(!conf_source_read("/", &source, &error), "a directory");
	is_bytes(buffer_bytes(&error), "/: cannot be read: Is a directory", "says so");
	buffer_clear(&error);
	ok(!conf_source_read("/dev/zero", &source, &error), "a file without end");
	is_bytes(buffer_bytes(&error), "/dev/zero: larger than 1048576 bytes", "is bounded");
	buffer_free(&error);
}

/* The file that is installed. */
static void test_installed(void)
{
	struct conf_source source;
	struct buffer error = {0};
	buffer_clear(&seen);
	if (!ok(conf_source_read("h2o.conf", &source, &error), "h2o.conf, the installed one"))
		return;
	struct conf *conf = conf_load(&source, &hooks, NULL, &error);
	if (ok(conf != NULL, "is accepted")) {
		is_text(conf->outline.listeners[0].name, "127.0.0.1:7080", "where it listens");
		ok(memcmp(seen.data, "/cdc=feed", 9) == 0, "what it serves");
		conf_free(conf);
	}
	conf_source_free(&source);
	buffer_free(&error);
}

static void remove_directory(void)
{
	static const char *names[] = {"first.pem", "first.key", "second.pem", "second.key", "h2o.conf"};
	for (size_t i = 0; i < COUNT(names); i++)
		unlink(path_in_directory(names[i]));
	rmdir(directory);
}

int main(void)
{
	if (mkdtemp(directory) == NULL)
		return 1;
	test_paths();
	test_yaml_mistakes();
	test_directive_mistakes();
	test_changefeed_mistakes();
	test_cors();
	test_listen_mistakes();
	test_outline();
	test_hosts_of_listeners();
	test_tls();
	test_resumption();
	test_tls_mistakes();
	test_source();
	test_installed();
	remove_directory();
	buffer_free(&seen);
	return tap_end();
}
