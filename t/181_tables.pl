# Tables: every replica identity, kind of key, partitioning, inheritance, and name that PostgreSQL knows.

use strict;
use warnings;
use utf8;
use Encode qw(encode_utf8);
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use Test::More;

my $server = ChangefeedTest->start;
my $cursor = $server->now_lsn;

# Runs SQL and returns what it changed, as polled from all collections.
sub changes_of
{
	my ($sql) = @_;
	$server->sql(encode_utf8($sql));
	$server->wait_for_feed;
	my $batch = $server->poll("/cdc/*/poll?limit=10000&since_lsn=$cursor");
	$cursor = $batch->{next_cursor}{since_lsn};
	return @{$batch->{changes}};
}

# `operation collection document_id` of each
sub brief { return [map { join ' ', $_->{operation}, $_->{collection}, $_->{document_id} // '-' } @_]; }

# Publishes and waits until all that is published can be seen.
sub publish
{
	my ($sql, @collections) = @_;
	$server->sql(encode_utf8($sql));
	for my $collection (@collections)
	{
		wait_for(sub { $server->get("/cdc/$collection/poll?limit=1")->{status} == 200 }, "$collection is published");
	}
	return;
}

# ---- replica identities and keys
publish(q{
	CREATE TABLE by_key (id int PRIMARY KEY, v text);
	CREATE TABLE by_full (v text, id int PRIMARY KEY); ALTER TABLE by_full REPLICA IDENTITY FULL;
	CREATE TABLE by_index (id int PRIMARY KEY, code text NOT NULL UNIQUE, v text); ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_code_key;
	CREATE TABLE by_index_only (b int NOT NULL, a int NOT NULL, v text); CREATE UNIQUE INDEX by_index_ab ON by_index_only (a, b);
	ALTER TABLE by_index_only REPLICA IDENTITY USING INDEX by_index_ab;
	CREATE TABLE by_nothing (id int PRIMARY KEY, v text); ALTER TABLE by_nothing REPLICA IDENTITY NOTHING;
	CREATE TABLE keyless_full (a int, b text); ALTER TABLE keyless_full REPLICA IDENTITY FULL;
	CREATE TABLE keyless (a int);
	CREATE TABLE composite (c int, b text, v text, a timestamptz, PRIMARY KEY (b, a, c) INCLUDE (v));
	CREATE TABLE wide_key (id numeric, data jsonb, PRIMARY KEY (id, data));
	CREATE TABLE no_columns ();
	ALTER PUBLICATION changefeed ADD TABLE by_key, by_full, by_index, by_index_only, by_nothing, keyless_full, keyless, composite, wide_key, no_columns;
}, 'no_columns');
$cursor = $server->now_lsn;

my @changes = changes_of(q{INSERT INTO by_key VALUES (1, 'a'); UPDATE by_key SET v = 'b'; UPDATE by_key SET id = 2; DELETE FROM by_key});
is_deeply([map { [@$_{qw(operation document_id new old)}] } @changes],
	[['INSERT', 1, {id => 1, v => 'a'}, undef], ['UPDATE', 1, {id => 1, v => 'b'}, undef],
		['UPDATE', 2, {id => 2, v => 'b'}, {id => 1}], ['DELETE', 2, undef, {id => 2}]],
	'identity default');
@changes = changes_of(q{INSERT INTO by_full VALUES ('a', 1); UPDATE by_full SET v = NULL; DELETE FROM by_full});
is_deeply([map { [@$_{qw(operation document_id new old)}] } @changes],
	[['INSERT', 1, {id => 1, v => 'a'}, undef], ['UPDATE', 1, {id => 1, v => undef}, {id => 1, v => 'a'}], ['DELETE', 1, undef, {id => 1, v => undef}]],
	'identity full');
@changes = changes_of(q{INSERT INTO by_index VALUES (1, 'c', 'a'); UPDATE by_index SET v = 'b'; UPDATE by_index SET code = 'd'; DELETE FROM by_index});
is_deeply([map { [@$_{qw(operation document_id new old)}] } @changes],
	[['INSERT', 1, {id => 1, code => 'c', v => 'a'}, undef], ['UPDATE', 1, {id => 1, code => 'c', v => 'b'}, undef],
		['UPDATE', 1, {id => 1, code => 'd', v => 'b'}, {code => 'c'}], ['DELETE', undef, undef, {code => 'd'}]],
	'identity by index: the document is known by its primary key, as long as the key is sent');
@changes = changes_of(q{INSERT INTO by_index_only VALUES (1, 2, 'a'); UPDATE by_index_only SET a = 3; DELETE FROM by_index_only});
is_deeply([map { [@$_{qw(operation document_id old)}] } @changes],
	[['INSERT', '[1,2]', undef], ['UPDATE', '[1,3]', {a => 2, b => 1}], ['DELETE', '[1,3]', {a => 3, b => 1}]],
	'identity by index, without a primary key: the index is the key, in the order of the columns');
is_deeply(brief(changes_of(q{INSERT INTO by_nothing VALUES (1, 'a')})), ['INSERT by_nothing 1'], 'identity nothing: inserts');
isnt(eval { $server->sql('UPDATE by_nothing SET v = 1'); 1 }, 1, 'PostgreSQL refuses its updates while it is published');
@changes = changes_of(q{INSERT INTO keyless_full VALUES (1, 'a'), (1, 'a'); UPDATE keyless_full SET b = 'b'; DELETE FROM keyless_full});
is_deeply([map { [@$_{qw(operation document_id)}] } @changes], [map { [$_, undef] } qw(INSERT INSERT UPDATE UPDATE DELETE DELETE)],
	'full without a key: no document_id');
is_deeply($changes[4]{old}, {a => 1, b => 'b'}, 'but the row');
is_deeply(brief(changes_of(q{INSERT INTO keyless VALUES (1); INSERT INTO no_columns DEFAULT VALUES})), ['INSERT keyless -', 'INSERT no_columns -'],
	'no key, no columns');
@changes = changes_of(q{INSERT INTO composite VALUES (3, 'x"y', 'v', '2024-01-01'); UPDATE composite SET v = 'w'; DELETE FROM composite});
is_deeply([map { $_->{document_id} } @changes], [('["x\"y","2024-01-01T00:00:00+00:00",3]') x 3],
	'a composite key: a JSON array in the order of the key, without what it includes');
is_deeply($changes[2]{old}, {b => 'x"y', a => '2024-01-01T00:00:00+00:00', c => 3}, 'of a DELETE, too');
@changes = changes_of(q{INSERT INTO wide_key VALUES ('1.50', '{"a": 1.10}')});
is($changes[0]{document_id}, '[1.50,{"a": 1.10}]', 'a composite key of numbers and documents');
$server->sql(q{CREATE TABLE by_time (id timestamptz PRIMARY KEY); CREATE TABLE by_truth (id bool PRIMARY KEY); CREATE TABLE by_padded (id char(5) PRIMARY KEY);
	ALTER PUBLICATION changefeed ADD TABLE by_time, by_truth, by_padded});
@changes = changes_of(q{INSERT INTO by_time VALUES ('2024-01-01'); INSERT INTO by_truth VALUES (true); INSERT INTO by_padded VALUES ('ab')});
is_deeply([map { $_->{document_id} } @changes], ['2024-01-01 00:00:00+00', 't', 'ab   '], 'a key of one column: as PostgreSQL writes it');

# ---- TOAST
publish(q{
	CREATE TABLE toasted (id int PRIMARY KEY, a text, b text, v int); ALTER TABLE toasted ALTER a SET STORAGE EXTERNAL, ALTER b SET STORAGE EXTERNAL;
	CREATE TABLE toasted_full (LIKE toasted INCLUDING ALL); ALTER TABLE toasted_full REPLICA IDENTITY FULL;
	CREATE TABLE toasted_key (a text PRIMARY KEY, v int); ALTER TABLE toasted_key ALTER a SET STORAGE EXTERNAL;
	ALTER PUBLICATION changefeed ADD TABLE toasted, toasted_full, toasted_key;
}, 'toasted_key');
my ($long_a, $long_b) = ('0123456789' x 500, 'abcdefghij' x 500);
@changes = changes_of(join ';', map { "INSERT INTO $_ VALUES (1, '$long_a', '$long_b', 1); UPDATE $_ SET v = 2;
	UPDATE $_ SET a = 'short', v = 3; UPDATE $_ SET v = NULL, b = NULL" } qw(toasted toasted_full));
is_deeply([map { [@$_{qw(new unchanged)}] } @changes[0 .. 3]],
	[[{id => 1, a => $long_a, b => $long_b, v => 1}, undef], [{id => 1, v => 2}, [qw(a b)]],
		[{id => 1, a => 'short', v => 3}, ['b']], [{id => 1, a => 'short', b => undef, v => undef}, undef]],
	'unchanged TOAST: named in `unchanged`');
is_deeply([map { [@$_{qw(new unchanged)}] } @changes[4 .. 7]],
	[[{id => 1, a => $long_a, b => $long_b, v => 1}, undef], [{id => 1, a => $long_a, b => $long_b, v => 2}, undef],
		[{id => 1, a => 'short', b => $long_b, v => 3}, undef], [{id => 1, a => 'short', b => undef, v => undef}, undef]],
	'filled in from the old row with identity full');
my $key = '0123456789' x 250;
@changes = changes_of("INSERT INTO toasted_key VALUES ('$key', 1); UPDATE toasted_key SET v = 2; DELETE FROM toasted_key");
is_deeply([map { $_->{document_id} } @changes], [($key) x 3], 'a TOASTed key');
is_deeply($changes[1]{new}, {a => $key, v => 2}, 'is in the new row, too');

# ---- generated columns: pgoutput does not send them before PostgreSQL 18, and then only if told to
publish(q{CREATE TABLE generated (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED, v text);
	ALTER PUBLICATION changefeed ADD TABLE generated}, 'generated');
is_deeply([map { $_->{new} } changes_of(q{INSERT INTO generated VALUES (1, DEFAULT, 'a'); UPDATE generated SET v = 'b'})],
	[{id => 1, v => 'a'}, {id => 1, v => 'b'}],
	'generated columns are left out');

publish(q{CREATE TABLE generated_key (a int, b int, g int GENERATED ALWAYS AS (b * 2) STORED, PRIMARY KEY (a, g));
	CREATE TABLE deferred_key (id int PRIMARY KEY DEFERRABLE); ALTER PUBLICATION changefeed ADD TABLE generated_key, deferred_key}, 'deferred_key');
# From 18 on PostgreSQL refuses to UPDATE a row whose key is not published whole.
my $update = $server->sql('SHOW server_version_num') < 180000 ? 'UPDATE generated_key SET b = 3 WHERE b = 1;' : '';
is_deeply(brief(changes_of("INSERT INTO generated_key VALUES (1, 1), (1, 2); $update INSERT INTO deferred_key VALUES (1)")),
	[('INSERT generated_key -') x 2, ('UPDATE generated_key -') x !!$update, 'INSERT deferred_key 1'],
	'a part of a key is no document_id; a deferrable key is one');

# ---- partitions

# Attaches or detaches one. Before 15 a walsender that has read the partition does not notice, and the next one does.
sub partition
{
	my ($statements) = @_;
	$server->sql($statements);
	$server->sql('SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots') if $server->sql('SHOW server_version_num') < 150000;
	return;
}

my $partitions = q{
	CREATE TABLE %1$s (id int, v int, PRIMARY KEY (id)) PARTITION BY RANGE (id);
	CREATE TABLE %1$s_low PARTITION OF %1$s FOR VALUES FROM (0) TO (10);
	CREATE TABLE %1$s_high (v int, gone text, id int NOT NULL, PRIMARY KEY (id));
	ALTER TABLE %1$s_high DROP COLUMN gone;
	ALTER TABLE %1$s ATTACH PARTITION %1$s_high FOR VALUES FROM (10) TO (20)};
my $work = q{INSERT INTO %1$s VALUES (1, 100), (11, 110); UPDATE %1$s SET v = v + 1; UPDATE %1$s SET id = 12 WHERE id = 1; DELETE FROM %1$s WHERE id = 11};
publish(sprintf($partitions, 'leaves')
	. '; ALTER PUBLICATION changefeed SET (publish_via_partition_root = false); ALTER PUBLICATION changefeed ADD TABLE leaves', 'leaves_low', 'leaves_high');
is_deeply(brief(changes_of(sprintf($work, 'leaves'))),
	['INSERT leaves_low 1', 'INSERT leaves_high 11', 'UPDATE leaves_low 1', 'UPDATE leaves_high 11',
		'DELETE leaves_low 1', 'INSERT leaves_high 12', 'DELETE leaves_high 11'],
	'without publish_via_partition_root: each partition is a collection, a row that moves is a DELETE and an INSERT');
is($server->get('/cdc/leaves/poll')->{status}, 404, 'and the table itself is none');
is_deeply(brief(changes_of(q{TRUNCATE leaves})), ['TRUNCATE leaves_low -', 'TRUNCATE leaves_high -'], 'TRUNCATE of all');
partition(q{ALTER TABLE leaves DETACH PARTITION leaves_high});
is_deeply(brief(changes_of(q{INSERT INTO leaves VALUES (2, 2); INSERT INTO leaves_high VALUES (5, 13)})), ['INSERT leaves_low 2'],
	'a detached partition is no longer published');
wait_for(sub { $server->get('/cdc/leaves_high/poll')->{status} == 404 }, 'nor to be subscribed to');

$server->sql('ALTER PUBLICATION changefeed DROP TABLE leaves; ALTER PUBLICATION changefeed SET (publish_via_partition_root = true)');
publish(sprintf($partitions, 'rooted') . '; ALTER PUBLICATION changefeed ADD TABLE rooted', 'rooted');
$cursor = $server->now_lsn;
@changes = changes_of(sprintf($work, 'rooted'));
is_deeply(brief(@changes),
	['INSERT rooted 1', 'INSERT rooted 11', 'UPDATE rooted 1', 'UPDATE rooted 11', 'DELETE rooted 1', 'INSERT rooted 12', 'DELETE rooted 11'],
	'with publish_via_partition_root: the table is the collection');
is_deeply($changes[3]{new}, {id => 11, v => 111}, 'whatever the order of the columns in the partition');
is($server->get('/cdc/rooted_low/poll')->{status}, 404, 'the partitions are none');
is_deeply(brief(changes_of(q{INSERT INTO rooted_low VALUES (3, 3)})), ['INSERT rooted 3'], 'a change made to the partition itself is one of the table');
partition(q{CREATE TABLE rooted_more (id int PRIMARY KEY, v int); INSERT INTO rooted_more VALUES (20, 0);
	ALTER TABLE rooted ATTACH PARTITION rooted_more FOR VALUES FROM (20) TO (30)});
is_deeply(brief(changes_of(q{INSERT INTO rooted VALUES (21, 1)})), ['INSERT rooted 21'], 'an attached partition: from then on');
partition(q{ALTER TABLE rooted DETACH PARTITION rooted_more});
is_deeply(brief(changes_of(q{INSERT INTO rooted_more VALUES (22, 1)})), [], 'detached: no more');
is_deeply(brief(changes_of(q{TRUNCATE rooted})), ['TRUNCATE rooted -'], 'TRUNCATE of the table');

# partitions whose replica identity is not that of the table
publish(q{
	CREATE TABLE other_key (a int, b int, code text NOT NULL, PRIMARY KEY (a, b)) PARTITION BY RANGE (a);
	CREATE TABLE other_key_0 PARTITION OF other_key (UNIQUE (code)) FOR VALUES FROM (0) TO (10);
	ALTER TABLE other_key_0 REPLICA IDENTITY USING INDEX other_key_0_code_key;
	ALTER PUBLICATION changefeed ADD TABLE other_key}, 'other_key');
@changes = changes_of(q{INSERT INTO other_key VALUES (1, 2, 'k'); UPDATE other_key SET code = 'l'; DELETE FROM other_key});
is_deeply([map { [@$_{qw(operation document_id old)}] } @changes],
	[['INSERT', '[1,2]', undef], ['UPDATE', '[1,2]', {code => 'k'}], ['DELETE', undef, {code => 'l'}]],
	'the identity of a partition is another index: of the old row that is known, and no more');

publish(q{
	CREATE TABLE root_full (id int PRIMARY KEY, big text, v text) PARTITION BY RANGE (id);
	CREATE TABLE root_full_0 PARTITION OF root_full FOR VALUES FROM (0) TO (10);
	ALTER TABLE root_full_0 ALTER big SET STORAGE EXTERNAL; ALTER TABLE root_full REPLICA IDENTITY FULL;
	ALTER PUBLICATION changefeed ADD TABLE root_full}, 'root_full');
@changes = changes_of(qq{INSERT INTO root_full VALUES (1, '$long_a', NULL); UPDATE root_full SET id = 2; DELETE FROM root_full});
is_deeply([map { [@$_{qw(document_id new old unchanged)}] } @changes],
	[[1, {id => 1, big => $long_a, v => undef}, undef, undef], [2, {id => 2, v => undef}, {id => 1}, ['big']], [2, undef, {id => 2}, undef]],
	'the table has FULL, its partition has not: nothing is null that was not sent');
@changes = changes_of(qq{ALTER TABLE root_full_0 REPLICA IDENTITY FULL;
	INSERT INTO root_full VALUES (1, '$long_a', NULL); UPDATE root_full SET id = 2; DELETE FROM root_full});
is_deeply([map { $_->{old} } @changes], [undef, {id => 1, big => $long_a, v => undef}, {id => 2, big => $long_a, v => undef}], 'both have: everything is sent');

publish(q{
	CREATE TABLE late_full (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
	CREATE TABLE late_full_0 PARTITION OF late_full DEFAULT; ALTER PUBLICATION changefeed ADD TABLE late_full}, 'late_full');
@changes = changes_of(q{INSERT INTO late_full VALUES (1, 'a'); ALTER TABLE late_full REPLICA IDENTITY FULL;
	UPDATE late_full SET id = 2; ALTER TABLE late_full REPLICA IDENTITY DEFAULT; DELETE FROM late_full});
is_deeply([map { $_->{old} } @changes], [undef, {id => 1}, {id => 2}], 'the table is given FULL when it was streamed already: likewise');

# ---- inheritance
publish(q{CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (extra text, PRIMARY KEY (id)) INHERITS (parent);
	CREATE TABLE stepchild (PRIMARY KEY (id)) INHERITS (parent);
		ALTER PUBLICATION changefeed ADD TABLE parent; ALTER PUBLICATION changefeed DROP TABLE ONLY stepchild}, 'child');
@changes = changes_of(q{INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2, 'x'); INSERT INTO stepchild VALUES (3); UPDATE parent SET id = id + 10});
is_deeply([sort @{brief(@changes)}], ['INSERT child 2', 'INSERT parent 1', 'UPDATE child 12', 'UPDATE parent 11'], 'inheritance: each table is a collection');
is_deeply($changes[1]{new}, {id => 2, extra => 'x'}, 'with its own columns');

# ---- column lists and row filters
SKIP:
{
	skip('column lists, row filters and schemas came with PostgreSQL 15', 4) if $server->sql('SHOW server_version_num') < 150000;
	publish(q{CREATE TABLE partly (secret text, id int PRIMARY KEY, v int); CREATE TABLE filtered (id int PRIMARY KEY, v int);
		ALTER PUBLICATION changefeed ADD TABLE partly (v, id), filtered WHERE (id > 10)}, 'filtered');
	is_deeply([map { $_->{new} } changes_of(q{INSERT INTO partly VALUES ('x', 1, 2); UPDATE partly SET secret = 'y'})], [({id => 1, v => 2}) x 2],
		'a column list: no other columns');
	is_deeply(brief(changes_of(q{INSERT INTO filtered VALUES (1), (11), (12); UPDATE filtered SET id = 21 WHERE id = 1;
		UPDATE filtered SET id = 2 WHERE id = 12; DELETE FROM filtered WHERE id = 2})),
		['INSERT filtered 11', 'INSERT filtered 12', 'INSERT filtered 21', 'DELETE filtered 12'],
		'a row filter: what enters is an INSERT, what leaves a DELETE');

	publish(q{CREATE SCHEMA app; CREATE TABLE app.one (id int PRIMARY KEY); CREATE TABLE app.by_key (id int PRIMARY KEY);
		ALTER PUBLICATION changefeed DROP TABLE partly; ALTER PUBLICATION changefeed ADD TABLES IN SCHEMA app}, 'app.one');
	@changes = changes_of(q{INSERT INTO app.one VALUES (1); INSERT INTO by_key VALUES (1); INSERT INTO app.by_key VALUES (2);
		CREATE TABLE app.two (id int PRIMARY KEY); INSERT INTO app.two VALUES (1)});
	is_deeply([map { "$_->{schema}.$_->{collection}" } @changes], [qw(app.one public.by_key app.by_key app.two)],
		'all tables of a schema, also one made later; one name in two schemas');
	is($server->poll('/cdc/app.by_key/poll?since_lsn=0')->{changes}[0]{document_id}, 2, 'told apart by the schema');
}

# ---- names
my @names = ('Mixed Case', 'dot.ted', 'com,ma', 'sla/sh', 'quo"te', "apo'strophe", 'per%cent', 'per%2Fcent', 'plus+plus',
	'question?mark', 'ha#sh', 'amper&sand=', 'back\\slash', "tab\tand\nline",
	'Größe', '表', '🙂', ' space ', '.', '..', '.dot', 'poll', '*', '**', 'x' x 63, 'ä' x 31, '<b>', '$1', '{}', '__proto__', 'SELECT', 'users/poll');
sub quoted { return '"' . ($_[0] =~ s/"/""/gr) . '"'; }
sub encoded { return encode_utf8($_[0]) =~ s/([^A-Za-z0-9])/sprintf '%%%02X', ord $1/egr; }
publish(join(';', map { sprintf 'CREATE TABLE %1$s (%1$s int PRIMARY KEY); ALTER PUBLICATION changefeed ADD TABLE %1$s', quoted($_) } @names),
	encoded($names[-1]));
$cursor = $server->now_lsn;
@changes = changes_of(join ';', map { sprintf 'INSERT INTO %s VALUES (%d)', quoted($names[$_]), $_ } 0 .. $#names);
is_deeply([map { $_->{collection} } @changes], \@names, 'names of all sorts, in *');
is_deeply([map { keys %{$_->{new}} } @changes], \@names, 'names of columns, too');
for my $number (0 .. $#names)
{
	my $name = $names[$number];
	# by itself, * means all, and .. is a step upwards (RFC 3986, section 6.2.2)
	for my $path ('public.' . encoded($name), $name eq '*' || $name eq '..' ? () : encoded($name))
	{
		my $answer = $server->get("/cdc/$path/poll?limit=10");
		is($answer->{status} == 200 ? $answer->{json}{changes}[0]{document_id} : $answer->{content}, $number, "/cdc/$path/poll");
	}
}
my $stream = $server->stream('/cdc/' . join(',', map { 'public.' . encoded($_) } @names) . '?since_lsn=0');
is_deeply([map { $_->{json}{collection} } $stream->events(scalar @names)], \@names, 'all of them in one stream');

# ---- all tables
my $other = ChangefeedTest->new(postgresql => {'changefeed.publication' => 'everything'});
$other->pg_start;
$other->sql('CREATE TABLE early (id int PRIMARY KEY); CREATE PUBLICATION everything FOR ALL TABLES; CREATE EXTENSION pg_changefeed');
$other->wait_ready;
$stream = $other->stream('/cdc/*');
$other->sql('INSERT INTO early VALUES (1); CREATE TABLE late (id int PRIMARY KEY); INSERT INTO late VALUES (2)');
is_deeply([map { "$_->{json}{collection} $_->{json}{document_id}" } $stream->events(2)], ['early 1', 'late 2'], 'FOR ALL TABLES: also those made later');
is($other->get('/cdc/late/poll')->{status}, 200, 'which have names of their own at once');

done_testing();
