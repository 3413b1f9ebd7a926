# Types: what a client gets of a value is what to_jsonb() gives of it, for every type and however it is nested.
#
# Each type makes seven columns of one wide table: the type itself, an array of it, a domain over it, an array of that
# domain, a domain over the array, a composite of all these, and an array of that composite. Each value is a row. The
# polled document goes back into SQL as jsonb, where its text has to be that of to_jsonb(row), column by column: jsonb
# keeps all digits of a number, trailing zeros too.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use ChangefeedTest::Msgpack;
use Test::More;

# type, values as SQL's literals
my @types = (
	['bool', qw(true false)],
	['int2', -32768, -1, 0, 32767],
	['int4', -2147483648, 0, 2147483647],
	['int8', '-9223372036854775808', -1, 0, '9007199254740993', '9223372036854775807'],
	['numeric', qw(0 0.00 -0.10 1e40 1e-40), '123456789012345678901234567890.123456789000', "repeat('9', 500)::numeric", "'NaN'", "'Infinity'", "'-Infinity'"],
	['numeric(20,5)', '12.34', '-0.00001'],
	['float4', qw(0 0.1 1.5 16777216 1e10 3.4028235e38 1e-45), "'-0'", "'NaN'", "'Infinity'", "'-Infinity'"],
	['float8', qw(0 0.1 1e15 1e16 1e300 5e-324 1.7976931348623157e308 123456789.123456789), "'-0'", "'NaN'", "'Infinity'", "'-Infinity'"],
	['text', "''", "'NULL'", "' '", q{'{}'}, q{'"'}, q{'\\'}, q{'a,b;c(d)e[f]g{h}'}, "E'\\t\\r\\n\\b\\f\\x7f'",
		"(SELECT string_agg(chr(i), '') FROM generate_series(1, 160) i)",
		"U&'\\2028\\2029\\FEFF\\FFFD\\FFFF\\+01f600\\00e9'", "E'e\\u0301 </script>'", "repeat('toasted ', 20000)"],
	['varchar(5)', "'a b'"],
	['bpchar', "'a  '", "''"],
	['char(5)', "'ab'", "''"],
	['"char"', "'x'", "''"],
	['name', "'name'"],
	['bytea', "''", "'\\x00ff5c22'"],
	['money', "'12.34'", "'-1234567.89'"],
	['date', "'2024-02-29'", "'0001-01-01'", "'0001-12-31 BC'", "'4713-01-01 BC'", "'5874897-12-31'", "'infinity'", "'-infinity'"],
	['time', "'00:00'", "'24:00:00'", "'12:34:56.789'", "'23:59:59.999999'"],
	['timetz', "'12:34:56.789+02'", "'00:00-15:59:59'", "'24:00+05:30'"],
	['timestamp', "'2024-02-29 12:34:56.789012'", "'2024-01-01'", "'4714-11-24 BC'", "'294276-12-31 23:59:59.999999'", "'infinity'", "'-infinity'"],
	['timestamptz', "'2024-02-29 12:34:56.78+05:30'", "'1800-01-01'", "'0044-03-15 12:00 BC'", "'12024-01-01'", "'infinity'", "'-infinity'"],
	['timestamptz(0)', "'2024-02-29 12:34:56.78+05:30'"],
	['interval', "'0'", "'1 year 2 mons -3 days 04:05:06.789'", "'-1 day'", "'178000000 years'", "'-00:00:00.000001'"],
	['uuid', "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"],
	['json', q{'{"b": 1, "a": [1.10, null, "x\u00e9\"\\\/"], "b": 2}'}, q{'  "text"  '},
		"'1e5'", "'null'", "'-0.0'", "E'{\"a\" :\\n\\t[ 1 ,\\r\\n 2 ] }'", "'[]'",
		q{repeat('[', 1000)::text || repeat(']', 1000)}, q{'12345678901234567890.12345678901234567890'}],
	['jsonb', q{'{"b": 1, "a": [1.10, null, "x\u00e9\"\\\/"], "c": {}}'}, q{'"text"'}, "'1e50'", "'null'", q{'"line\nbreak \u2028"'}],
	['jsonpath', q{'$.a[*] ? (@ > 1)'}],
	['xml', q{'<a b="c">d &amp; e</a>'}],
	['inet', "'192.168.0.1/24'", "'::1'", "'2001:db8::/32'"],
	['cidr', "'10.0.0.0/8'", "'::/0'"],
	['macaddr', "'08:00:2b:01:02:03'"],
	['macaddr8', "'08:00:2b:01:02:03:04:05'"],
	['bit(3)', "B'101'"],
	['varbit', "B''", "B'10'"],
	['point', "'(1.5,-2)'", "'(Infinity,NaN)'"],
	['line', "'{1,-1,0}'"],
	['lseg', "'[(0,0),(1,1)]'"],
	['box', "'(3,4),(1,2)'"],
	['path', "'[(0,0),(1,1)]'", "'((0,0),(1,1))'"],
	['polygon', "'((0,0),(1,1),(2,0))'"],
	['circle', "'<(1,2),3>'"],
	['tsvector', q{'a:1A fat:2,4 cat'}, q{$$'it''s' ' '$$}],
	['tsquery', "'fat & (rat | !cat:*)'"],
	['oid', '0', '4294967295'],
	['xid', "'4294967295'"],
	['xid8', "'18446744073709551615'"],
	['cid', "'1'"],
	['tid', "'(4294967295,65535)'"],
	['pg_lsn', "'16/B374D848'"],
	['pg_snapshot', "'10:20:10,14'"],
	['txid_snapshot', "'10:20:10,14'"],
	['int2vector', "'1 -2 3'", "''"],
	['oidvector', "'1 2'", "''"],
	['regclass', "'pg_class'", "'row_of_table'", "'0'"],
	['regtype', "'int4'", "'text[]'"],
	['regproc', "'now'"],
	['regprocedure', "'abs(int4)'"],
	['regoper', "'||/'"],
	['regoperator', "'+(int4,int4)'"],
	['regrole', "'postgres'"],
	['regnamespace', "'pg_catalog'"],
	['regcollation', q{'"C"'}],
	['regconfig', "'english'"],
	['regdictionary', "'simple'"],
	['refcursor', "'c'"],
	['aclitem', "'postgres=r/postgres'"],
	['int4range', "'[1,10)'", "'empty'", "'(,)'"],
	['int8range', "'[1,)'"],
	['numrange', "'(1.50,2]'"],
	['daterange', "'[2024-01-01,infinity)'"],
	['tsrange', q{'["2024-01-01 10:00","2024-01-02")'}],
	['tstzrange', q{'["2024-01-01 10:00+02",infinity]'}],
	['int4multirange', "'{[1,3),[5,7)}'", "'{}'"],
	['int8multirange', "'{[1,3)}'"],
	['nummultirange', "'{(,1.50)}'"],
	['datemultirange', "'{[2024-01-01,2024-02-01)}'"],
	['tsmultirange', q{'{["2024-01-01 10:00","2024-01-02")}'}],
	['tstzmultirange', q{'{["2024-01-01 10:00","2024-01-02")}'}],
	['mood', "'sad'", "'happy, very'", q{'"'}, "''"],
	['floatrange', "'[1.5,2)'"],
	['floatmultirange', "'{[1.5,2)}'"],
	['words', q{ARRAY['a,b', 'c"d', 'e\f', '', 'NULL', NULL]}, q{'[-1:0]={x,y}'}, "'{}'"],
	['pair', q{ROW(1, 'a "b", (c)\\', '{1,NULL}')}, "ROW(NULL, NULL, NULL)", "ROW(1, '', '{}')", "NULL"],
	['nested', "ROW(ROW(7, E'deep\\n', '{3}')::pair, ARRAY[ROW(8, '{\"}', NULL)::pair, NULL], 'sad', '(3,4),(1,2)', '[\"x\"]')"],
	['single', "ROW('')", "ROW(NULL)", "ROW('()')"],
	['nothing', "ROW()"],
	['row_of_table', "ROW(1, '2024-01-01 10:00')"],
	['cube', "'(1,2),(3,4)'"],
	['ltree', "'a.b.c'"],
	['seg', "'1.50 .. 2'"],
	['isbn', "'978-0-393-04002-9'"],
	['citext', "'Ab \"c\"'"],
	['hstore', q{'a=>1, "b c"=>NULL, "d\"e"=>"\\\\, =>", ""=>""'}, "''"],
);

my $server = ChangefeedTest->start(postgresql => {max_stack_depth => '6MB'});

# ---- the table
my $ddl = q{
	CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION cube; CREATE EXTENSION ltree; CREATE EXTENSION seg; CREATE EXTENSION isn;
	CREATE TYPE mood AS ENUM ('sad', 'happy, very', '"', '');
	CREATE TYPE floatrange AS RANGE (subtype = float8, multirange_type_name = floatmultirange);
	CREATE DOMAIN words AS text[];
	CREATE TYPE pair AS (number int, "Word, ""quoted""" text, list int[]);
	CREATE TYPE nested AS (inner_pair pair, pairs pair[], feeling mood, corners box, document jsonb);
	CREATE TYPE single AS (field text);
	CREATE TYPE nothing AS ();
	CREATE TABLE row_of_table (id int, gone text, at timestamptz);
	ALTER TABLE row_of_table DROP COLUMN gone;
};
my @columns;
for my $i (0 .. $#types)
{
	my $type = $types[$i][0];
	$ddl .= "CREATE DOMAIN d$i AS $type; CREATE DOMAIN l$i AS $type\[];
		CREATE TYPE k$i AS (a $type, \"B,\"\"b\" $type\[], c d$i, d d$i\[], e l$i);\n";
	push @columns, "t$i $type", "a$i $type\[]", "d$i d$i", "e$i d$i\[]", "l$i l$i", "k$i k$i", "m$i k$i\[]";
}
$server->sql($ddl);
$server->publish('types', join(', ', 'row_id int PRIMARY KEY', map { "_$_" } @columns));

# ---- the rows
my @rows;
my $insert = '';
for my $i (0 .. $#types)
{
	my ($type, @values) = @{$types[$i]};
	for my $value (@values)
	{
		my $row = @rows;
		push @rows, "$type $value";
		my $matrix = "ARRAY[[v, NULL], [v, v]]::$type\[]";
		my $composite = "ROW(v, $matrix, v, ARRAY[v, NULL]::d$i\[], ARRAY[v]::$type\[])::k$i";
		$insert .= "INSERT INTO types (row_id, _t$i, _a$i, _d$i, _e$i, _l$i, _k$i, _m$i)
			SELECT $row, v, $matrix, v, ARRAY[v, NULL]::d$i\[], ARRAY[v, NULL]::$type\[], $composite, ARRAY[NULL, $composite]
			FROM (SELECT CAST($value AS $type)) input (v);\n";
	}
}
$server->sql($insert);
$server->sql(q{
	INSERT INTO types (row_id) VALUES (10000);
	INSERT INTO types (row_id, _a2, _a8, _a0) VALUES (10001, '{}', '[5:6][-1:0]={{a,NULL},{"NULL",""}}', '{{{{{{t,f}}}}}}')});
$server->wait_for_feed;

# ---- both ways of rendering, against to_jsonb
sub differences
{
	my ($table, @documents) = @_;
	$server->sql('DROP TABLE IF EXISTS seen; CREATE TABLE seen (body jsonb)');
	for my $document (@documents)
	{
		$document =~ /\$json\$/ and die 'the delimiter is in the document';
		$server->sql("SET client_encoding = 'UTF8'; INSERT INTO seen VALUES (\$json\$$document\$json\$)");
	}
	return $server->sql(qq{SET client_encoding = 'UTF8';
		SELECT t.row_id, wanted.key, 'wanted ' || left(wanted.value::text, 300) || ' got ' || coalesce(left((seen.new -> wanted.key)::text, 300), 'nothing')
		FROM $table t
		LEFT JOIN (SELECT change -> 'new' FROM seen, jsonb_array_elements(body -> 'changes') change) seen (new) ON seen.new ->> 'row_id' = t.row_id::text
		CROSS JOIN jsonb_each(to_jsonb(t)) wanted
		WHERE wanted.value::text IS DISTINCT FROM (seen.new -> wanted.key)::text
		UNION ALL
		SELECT t.row_id, 'number of columns', '' FROM $table t
		JOIN (SELECT change -> 'new' FROM seen, jsonb_array_elements(body -> 'changes') change) seen (new) ON seen.new ->> 'row_id' = t.row_id::text
		WHERE (SELECT count(*) FROM jsonb_object_keys(to_jsonb(t))) <> (SELECT count(*) FROM jsonb_object_keys(seen.new))});
}

sub pages
{
	my ($collection) = @_;
	my ($cursor, @pages) = ('earliest');
	while (1)
	{
		my $page = $server->get("/cdc/$collection/poll?limit=100&since_lsn=$cursor")->{content};
		push @pages, $page;
		my ($next, $more) = $page =~ /"since_lsn":"([\d-]+)"\},"has_more":(true|false)/ or die "no cursor in $page";
		return @pages if $more eq 'false';
		$cursor = $next;
	}
}

my @pages = pages('types');
my %differs;
for my $line (split /\n/, differences('types', @pages))
{
	my ($row, $column, $text) = split /\|/, $line, 3;
	$differs{$row} .= "$column: $text\n" if defined $text && $row =~ /^\d+$/;
}
for my $row (0 .. $#rows)
{
	ok(!exists $differs{$row}, "to_jsonb: " . substr($rows[$row], 0, 80)) or diag($differs{$row});
}
ok(!exists $differs{10000}, 'to_jsonb: all null') or diag($differs{10000});
ok(!exists $differs{10001}, 'to_jsonb: empty, bounds, six dimensions') or diag($differs{10001});

# ---- what is text on purpose: a value of the type's own text, as to_jsonb() would quote it
my $deep = join('', map { "CREATE TYPE deep$_ AS (inside " . ($_ == 1 ? 'int' : 'deep' . ($_ - 1)) . ");\n" } 1 .. 20);
$server->sql($deep . q{
	CREATE TYPE colour AS ENUM ('red');
	CREATE FUNCTION colour_json(colour) RETURNS json LANGUAGE sql AS $$ SELECT '{"rgb": "f00"}'::json $$;
	CREATE CAST (colour AS json) WITH FUNCTION colour_json(colour);
	CREATE TABLE called ();
	CREATE FUNCTION equal(regproc, regproc) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN INSERT INTO called DEFAULT VALUES; RETURN $1::oid = $2::oid; END $$;
	CREATE OPERATOR = (LEFTARG = regproc, RIGHTARG = regproc, FUNCTION = equal)});
$server->publish('by_text', 'row_id int PRIMARY KEY, depth deep20, cast_to_json colour, casts colour[]');
my $value = '7';
$value = "ROW($value)::deep$_" for 1 .. 20;
$server->sql("INSERT INTO by_text VALUES (1, $value, 'red', '{red}')");
$server->wait_for_feed;
my $new = $server->poll('/cdc/by_text/poll')->{changes}[0]{new};
is($new->{cast_to_json}, 'red', 'a type with a cast to json of its own: its text, for the feed runs no code of the database');
is_deeply($new->{casts}, ['red'], 'also in an array');
is($server->sql('SELECT count(*) FROM called'), 0, "nor operators of the schemas in its role's search_path");
my $outer = $new->{depth};
my $levels = 0;
($outer, $levels) = ($outer->{inside}, $levels + 1) while ref $outer;
is($levels, 16, 'composites to a depth of 16');
like($outer, qr/^\(.*7.*\)$/, 'what is deeper is text');

# ---- databases in other encodings: the stream is UTF-8
sub in_encoding
{
	my ($encoding) = @_;
	$server = ChangefeedTest->new(postgresql => {'changefeed.database' => 'other', 'changefeed.ring_size' => '80MB'});
	$server->pg_start;
	$server->sql("CREATE DATABASE other ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
	$server->{database} = 'other';
	$server->sql('CREATE EXTENSION pg_changefeed');
	$server->wait_ready;
	return;
}

in_encoding('LATIN1');
$server->sql(q{SET client_encoding = 'UTF8';
	CREATE TABLE "Größe" (row_id int PRIMARY KEY, "Maß" text, list text[], document jsonb);
	ALTER PUBLICATION changefeed ADD TABLE "Größe";
	INSERT INTO "Größe" VALUES (1, 'é÷ÿ', '{"ä,ö"}', '{"ü": "ß\u00fe"}')});
$server->wait_for_feed;
is(scalar differences('"Größe"', pages('Gr%C3%B6%C3%9Fe')), '', 'LATIN1: rows and names');
is($server->sql(q{SET client_encoding = 'UTF8'; SELECT new = to_jsonb(t) FROM changefeed.changes('Größe') c, "Größe" t}), 't', 'also in SQL');

in_encoding('SQL_ASCII');
$server->sql(q{CREATE TABLE bytes (row_id int PRIMARY KEY, utf8 text, other text, list text[], document json, "col} . "\xff" . q{" int);
	ALTER PUBLICATION changefeed ADD TABLE bytes;
	INSERT INTO bytes VALUES (1, 'é', E'a\xe9b', ARRAY[E'\xff'], E'{"a":"\xff\xc3"}', 5)});
$server->wait_for_feed;
my $content = $server->get('/cdc/bytes/poll')->{content};
ok(utf8::decode(my $copy = $content), 'SQL_ASCII: the document is UTF-8, whatever the bytes');
like($content, qr/"utf8":"é","other":"a\xEF\xBF\xBDb","list":\["\xEF\xBF\xBD"\],"document":"\{\\"a\\":\\"\xEF\xBF\xBD\xEF\xBF\xBD\\"\}","col\xEF\xBF\xBD":5/,
	'what is UTF-8 stays, other bytes are U+FFFD, also in names; json of such bytes is text') or diag($content);
my $packed = $server->get('/cdc/bytes/poll', headers => {Accept => 'application/msgpack'})->{content};
is_deeply(eval { ChangefeedTest::Msgpack::decode($packed)->{changes}[0]{new} },
	{row_id => 1, utf8 => "\x{e9}", other => "a\x{fffd}b", list => ["\x{fffd}"], document => "{\"a\":\"\x{fffd}\x{fffd}\"}", "col\x{fffd}" => 5},
	'the same in MessagePack') or diag($@);

# ---- 16.8 million elements are too many for jsonb, but the caller gets past them
$server->sql(q{CREATE TABLE large (row_id int PRIMARY KEY, list bool[]);
	ALTER PUBLICATION changefeed ADD TABLE large;
	INSERT INTO large VALUES (1, array_fill(true, ARRAY[16777300])), (2, '{t}')});
$server->wait_for_feed;
like($server->sql(q{SELECT document_id, new FROM changefeed.changes('large')}),
	qr/WARNING:  a row .* cannot be shown as jsonb\n.*^1\|\n2\|\{"list": \[true\], "row_id": 2\}$/ms,
	'such a row is null in SQL, which is said, and the next one follows');

done_testing();
