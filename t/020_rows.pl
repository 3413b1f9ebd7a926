# Rows: what `new`, `old`, `document_id` and `unchanged` hold; values are what to_jsonb() gives.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use Test::More;

my $server = ChangefeedTest->start;

# ---- every type: the row as the client gets it, read back as jsonb, is to_jsonb(row), to the letter
my @columns = (
	['smallint', '-32768', '32767'],
	['integer', '-2147483648', '2147483647'],
	['bigint', '-9223372036854775808', '9007199254740993'],
	['numeric', '123456789012345678901234567890.123456789000', "'NaN'", '0.00', "'Infinity'"],
	['real', '1.5', '1e20', "'NaN'", "'-Infinity'"],
	['double precision', '0.1', '1e300', '-0.0', "'Infinity'"],
	['boolean', 'true', 'false'],
	['text', "''", q{'quote " backslash \\ slash / tab' || chr(9) || chr(10) || chr(1)}, q{U&'\00e9 \+01f600'}],
	['varchar(10)', q{'abc'}],
	['char(5)', q{'abc'}],
	['bytea', q{'\x00ff10'}, q{''}],
	['date', "'2024-02-29'", "'infinity'", "'0044-03-15 BC'"],
	['time', "'12:34:56.789'"],
	['timetz', "'12:34:56+02'"],
	['timestamp', "'2024-02-29 12:34:56.789012'", "'-infinity'", "'2024-01-01'"],
	['timestamptz', "'2024-02-29 12:34:56.789012+02'", "'infinity'"],
	['interval', "'1 year 2 mons 3 days 04:05:06.789'", "'-1 day'"],
	['uuid', "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"],
	['json', q{'{"b": 1, "a": [1.10, null, "x\u00e9"], "b": 2}'}, q{'"text"'}, q{'1e5'}],
	['jsonb', q{'{"b": 1, "a": [1.10, null, "x"], "c": {}}'}, q{'null'}],
	['inet', "'192.168.1.0/24'"],
	['money', "'1234.50'"],
	['xml', "'<a b=\"c\">d</a>'"],
	['bit(3)', "B'101'"],
	['point', "'(1.5,-2)'"],
	['int4range', "'[1,10)'"],
	['tsvector', "'a fat cat'"],
	['oid', '4294967295'],
	['name', "'abc'"],
	['int[]', "'{1,NULL,3}'", "'{}'", "'{{1,2},{3,4}}'", "'[0:1]={5,6}'"],
	['text[]', q{ARRAY['a,b', 'c"d', 'e\f', '', 'NULL', NULL]}],
	['numeric[]', "'{1.50,NaN}'"],
	['timestamptz[]', "'{2024-02-29 12:34:56+00}'"],
	['jsonb[]', q{ARRAY['{"a":1}'::jsonb]}],
	['box[]', "'{(1,1),(0,0);(3,3),(2,2)}'"],
	['mood', "'happy'"],
	['pair', "ROW(1, 'a \"b\", (c)', NULL)"],
	['pair[]', "ARRAY[ROW(1, 'x', '{1,2}')::pair, NULL]"],
	['nested', "ROW(ROW(7, 'deep', '{3}')::pair, 'sad')"],
	['positive', '5'],
	['positive[]', "'{5,6}'"],
);
$server->sql(q{
	CREATE TYPE mood AS ENUM ('happy', 'sad');
	CREATE TYPE pair AS (number int, word text, list int[]);
	CREATE TYPE nested AS (inner_pair pair, feeling mood);
	CREATE DOMAIN positive AS int CHECK (VALUE > 0)});
$server->publish('types', 'row_id int PRIMARY KEY, ' . join(', ', map { "c$_ $columns[$_][0]" } 0 .. $#columns));
my $since = $server->now_lsn;
my $row = 0;
my $values = '';
my @names = ('all null');
$values .= "INSERT INTO types (row_id) VALUES (0);\n";
for my $column (0 .. $#columns)
{
	my ($type, @literals) = @{$columns[$column]};
	for my $literal (@literals)
	{
		$values .= sprintf("INSERT INTO types (row_id, c%d) VALUES (%d, %s);\n", $column, ++$row, $literal);
		push @names, "$type $literal";
	}
}
$server->sql($values);
$server->wait_for_feed;

my $stream = $server->stream("/cdc/types?since_lsn=$since");
my @new = map { $_->{data} =~ /"new":(.*)\}$/s ? $1 =~ s/,"unchanged":\[.*//r : '' } $stream->events($row + 1);
is(scalar @new, $row + 1, 'every row arrives');
$server->sql('CREATE TABLE seen (row_id int, row_json jsonb)');
$server->sql(join('', map { my $text = $new[$_]; $text =~ s/'/''/g; "INSERT INTO seen VALUES ($_, '$text');\n" } 0 .. $#new));
my %differs = map { split /\t/, $_, 2 } split /\n/, $server->sql(
	q{SELECT t.row_id || E'\t' || concat_ws(' not ', (SELECT string_agg(s.row_json ->> key, ', ') FROM jsonb_each_text(to_jsonb(t)) o
	    WHERE s.row_json ->> key IS DISTINCT FROM value),
	  (SELECT string_agg(key || ' = ' || coalesce(value, 'null'), ', ') FROM jsonb_each_text(to_jsonb(t)) o WHERE s.row_json ->> key IS DISTINCT FROM value))
	  FROM types t JOIN seen s USING (row_id) WHERE to_jsonb(t)::text IS DISTINCT FROM s.row_json::text});
for my $id (0 .. $#names)
{
	ok(!exists $differs{$id}, "to_jsonb: $names[$id]") or diag($differs{$id});
}

# ---- ?numbers=string
my $numbers = $server->poll("/cdc/types/poll?numbers=string&limit=10000");
my ($bigint) = grep { defined $_->{new}{c2} } @{$numbers->{changes}};
my ($numeric) = grep { defined $_->{new}{c3} } @{$numbers->{changes}};
like($server->get('/cdc/types/poll?numbers=string&limit=10000')->{content}, qr/"c2":"9007199254740993"/, 'numbers=string: int8');
like($server->get('/cdc/types/poll?numbers=string&limit=10000')->{content}, qr/"c3":"123456789012345678901234567890.123456789000"/, 'numbers=string: numeric');
like($server->get('/cdc/types/poll?numbers=string&limit=10000')->{content}, qr/"c1":2147483647\b/, 'numbers=string: int4 stays a number');
is($server->get('/cdc/types/poll?numbers=roman')->{status}, 400, 'numbers=roman is refused');

# ---- keys
my $all = $server->stream('/cdc/*');
$server->publish('composite', 'a int, b text, c int, PRIMARY KEY (b, a)');
$server->publish('keyless', 'a int');
$server->publish('"Mixed Case"', '"Id" int PRIMARY KEY');
$server->sql(q{INSERT INTO composite VALUES (1, 'x"y', 3)});
is($all->event->{json}{document_id}, '["x\"y",1]', 'a composite key: a JSON array in a string, in the order of the key');
$server->sql('INSERT INTO keyless VALUES (1)');
is($all->event->{json}{document_id}, undef, 'no key: null');
$server->sql('INSERT INTO "Mixed Case" VALUES (1)');
is($all->event->{json}{collection}, 'Mixed Case', 'a name as it is written');
is($server->get('/cdc/Mixed%20Case/poll')->{status}, 200, 'and found in the path');
is($server->get('/cdc/COMPOSITE/poll')->{json}{count}, 1, 'a name is matched in lower case too');
$server->sql('CREATE SCHEMA app');
$server->publish('app.users', 'id int PRIMARY KEY');
$server->sql('INSERT INTO app.users VALUES (1)');
my $event = $all->event;
is_deeply([@{$event->{json}}{qw(collection schema)}], [qw(users app)], 'another schema');
is($server->get('/cdc/users/poll')->{status}, 404, 'which the name alone does not mean');

# ---- a key that changes
$server->sql('UPDATE app.users SET id = 2');
$event = $all->event;
is_deeply([@{$event->{json}}{qw(document_id old)}], [2, {id => 1}], 'an UPDATE of the key: document_id is the new one, old the old one');

# ---- replica identity
$server->publish('full_rows', 'id int PRIMARY KEY, a text, big text');
$server->sql(q{ALTER TABLE full_rows REPLICA IDENTITY FULL; ALTER TABLE full_rows ALTER big SET STORAGE EXTERNAL;
	INSERT INTO full_rows VALUES (1, 'x', repeat('0123456789', 1000));
	UPDATE full_rows SET a = 'y';
	DELETE FROM full_rows});
my @events = $all->events(3);
my $big = '0123456789' x 1000;
is_deeply($events[1]{json}{old}, {id => 1, a => 'x', big => $big}, 'identity full: old is the whole row');
is_deeply($events[1]{json}{new}, {id => 1, a => 'y', big => $big}, 'an unchanged TOAST value is filled in from it');
ok(!@{$events[1]{json}{unchanged} // []}, 'so that nothing is unchanged');
is_deeply($events[2]{json}{old}, {id => 1, a => 'y', big => $big}, 'a DELETE has the whole row');

$server->publish('toasted', 'id int PRIMARY KEY, a text, big text');
$server->sql(q{ALTER TABLE toasted ALTER big SET STORAGE EXTERNAL;
	INSERT INTO toasted VALUES (1, 'x', repeat('0123456789', 1000));
	UPDATE toasted SET a = 'y'});
@events = $all->events(2);
is($events[0]{json}{new}{big}, $big, 'a TOAST value that is new arrives');
is_deeply([@{$events[1]{json}}{qw(new unchanged)}], [{id => 1, a => 'y'}, ['big']], 'one that did not change is named, and never null');

$server->publish('by_index', 'id int PRIMARY KEY, code text NOT NULL UNIQUE');
$server->sql(q{ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_code_key;
	INSERT INTO by_index VALUES (1, 'c1'); DELETE FROM by_index});
@events = $all->events(2);
is_deeply($events[1]{json}{old}, {code => 'c1'}, 'identity by index: old is the index');

# ---- DDL while streaming
$server->sql(q{ALTER TABLE app.users ADD COLUMN email text DEFAULT 'none'; INSERT INTO app.users VALUES (3, 'a@b');
	ALTER TABLE app.users RENAME COLUMN email TO mail; INSERT INTO app.users VALUES (4, 'c@d');
	ALTER TABLE app.users DROP COLUMN mail; INSERT INTO app.users VALUES (5)});
is_deeply([map { $_->{json}{new} } $all->events(3)], [{id => 3, email => 'a@b'}, {id => 4, mail => 'c@d'}, {id => 5}],
	'a row has the columns that it had when it was written');
my $mood = $server->sql(q{ALTER TYPE mood ADD VALUE 'curious'; INSERT INTO types (row_id, c35) VALUES (1000, 'curious')});
is($all->event->{json}{new}{c35}, 'curious', 'a new value of an enum');

# ---- partitions and a truncation of many
$server->sql(q{CREATE TABLE parts (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
	CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (10);
	CREATE TABLE parts_high (v int, id int NOT NULL, PRIMARY KEY (id));
	ALTER TABLE parts ATTACH PARTITION parts_high FOR VALUES FROM (10) TO (20)});
$server->publish('parts');
$server->sql(q{INSERT INTO parts VALUES (1, 100), (11, 110); UPDATE parts SET id = 12 WHERE id = 1});
@events = $all->events(4);
is_deeply([map { "$_->{json}{operation} $_->{json}{document_id}" } @events], ['INSERT 1', 'INSERT 11', 'DELETE 1', 'INSERT 12'],
	'a row that moves to another partition: DELETE and INSERT');
is_deeply($events[1]{json}{new}, {id => 11, v => 110}, 'partitions with columns in another order');
is_deeply([sort { $a cmp $b } map { $_->{json}{collection} } @events[0, 1]], [('parts') x 2], 'the collection is the published table');
$server->sql('TRUNCATE composite, keyless');
@events = $all->events(2);
is_deeply([sort map { $_->{json}{collection} } @events], [qw(composite keyless)], 'a TRUNCATE of two tables: a change for each');
is_deeply([map { $_->{id} =~ s/.*-//r } @events], [1, 2], 'with their own n');

done_testing();
