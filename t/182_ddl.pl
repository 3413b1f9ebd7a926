# DDL while streams are open: a change has the columns that its table had when it was made, whenever it is read; and
# what leaves the publication or enters it is said.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use Test::More;

my $server = ChangefeedTest->start(changefeed => {heartbeat => 1});
my $start = $server->now_lsn;
my $all = $server->stream('/cdc/*');

sub rows { return [map { $_->{json}{new} // $_->{json}{old} } @_]; }

# ---- columns
$server->publish('t', 'id int PRIMARY KEY, a int');
my $named = $server->stream('/cdc/t');
$server->sql(q{
	INSERT INTO t VALUES (1, 10);
	ALTER TABLE t ADD b text DEFAULT 'default'; INSERT INTO t VALUES (2, 20);
	UPDATE t SET a = 11 WHERE id = 1;
	ALTER TABLE t RENAME a TO "A, B"; INSERT INTO t VALUES (3, 30);
	ALTER TABLE t ALTER "A, B" TYPE numeric(10, 2); INSERT INTO t VALUES (4, 40);
	ALTER TABLE t DROP b; INSERT INTO t VALUES (5, 50)});
# types are looked up in the catalog when the change is read: let it be read before the next statement
for my $statements (
	q{CREATE TYPE pair AS (x int, y text); ALTER TABLE t ADD p pair, ADD ps pair[]; INSERT INTO t VALUES (6, 60, (1, 'z'), ARRAY[(2, 'y')::pair])},
	q{ALTER TYPE pair ADD ATTRIBUTE z int; INSERT INTO t VALUES (7, 70, (1, 'z', 3), '{}')})
{
	$server->sql($statements);
	$server->wait_for_feed;
}
$server->sql(q{
	ALTER TABLE t DROP p, DROP ps; DROP TYPE pair; INSERT INTO t VALUES (8, 80);
	BEGIN; ALTER TABLE t ADD c int; INSERT INTO t VALUES (9, 90, 1);
		ALTER TABLE t ALTER c TYPE text; INSERT INTO t VALUES (10, 100, 'x'); ALTER TABLE t DROP c; INSERT INTO t VALUES (11, 110); COMMIT;
	BEGIN; ALTER TABLE t ADD never int; INSERT INTO t VALUES (12, 120, 1); ROLLBACK; INSERT INTO t VALUES (12, 120)});
my $expected = [
	{id => 1, a => 10}, {id => 2, a => 20, b => 'default'}, {id => 1, a => 11, b => 'default'},
	{id => 3, 'A, B' => 30, b => 'default'}, {id => 4, 'A, B' => 40, b => 'default'},
	{id => 5, 'A, B' => 50},
	{id => 6, 'A, B' => 60, p => {x => 1, y => 'z'}, ps => [{x => 2, y => 'y'}]},
	{id => 7, 'A, B' => 70, p => {x => 1, y => 'z', z => 3}, ps => []},
	{id => 8, 'A, B' => 80}, {id => 9, 'A, B' => 90, c => 1}, {id => 10, 'A, B' => 100, c => 'x'}, {id => 11, 'A, B' => 110}, {id => 12, 'A, B' => 120}];
my @events = $named->events(13);
is_deeply(rows(@events), $expected, 'columns that are added, renamed, retyped, dropped, also inside of one transaction');
like($events[4]{data}, qr/"A, B":40\.00\b/, 'with the digits of their type then');
is_deeply(rows($all->events(13)), $expected, 'for a stream of all collections, too');

# ---- keys
@events = ();
for my $statements (
	q{ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY ("A, B"); DELETE FROM t WHERE id = 8},
	q{ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY ("A, B", id); DELETE FROM t WHERE id = 9},
	q{ALTER TABLE t DROP CONSTRAINT t_pkey; INSERT INTO t VALUES (13, 130)},
	q{ALTER TABLE t REPLICA IDENTITY FULL; DELETE FROM t WHERE id = 10},
	q{CREATE UNIQUE INDEX by_id ON t (id); ALTER TABLE t ALTER id SET NOT NULL, REPLICA IDENTITY USING INDEX by_id; DELETE FROM t WHERE id = 11})
{
	$server->sql($statements);
	push @events, $named->event;
}
is_deeply([map { $_->{json}{document_id} } @events], ['80.00', '[90.00,9]', undef, undef, '11'], 'the primary key and the replica identity may change');
is_deeply(rows(@events[1, 3, 4]), [{id => 9, 'A, B' => 90}, {id => 10, 'A, B' => 100}, {id => 11}], 'and with them what is known of an old row');
$all->events(5);

# ---- TRUNCATE
$server->publish('city', 'id int PRIMARY KEY');
$server->publish('house', 'id int PRIMARY KEY, city int REFERENCES city');
$server->publish('aside', 'id int PRIMARY KEY');
$server->sql('CREATE TABLE hidden (house int REFERENCES house); TRUNCATE city, aside RESTART IDENTITY CASCADE');
@events = $all->events(3);
is_deeply([sort map { "$_->{event} $_->{json}{collection}" } @events], ['truncate aside', 'truncate city', 'truncate house'],
	'TRUNCATE ... CASCADE: each published table that it reaches');
is_deeply([map { $_->{id} =~ s/.*-//r } @events], [1, 2, 3], 'as changes of one transaction');

# ---- in and out of the publication
sub is_unpublished
{
	my ($stream, $collection, $schema, $what) = @_;
	my $event = $stream->event;
	is_deeply([@$event{qw(event json)}], ['unpublished', {collection => $collection, schema => $schema}], $what) or diag(json_text($event));
	return;
}
my $both = $server->stream('/cdc/t,aside?payload=key');
$server->sql(q{INSERT INTO t VALUES (14, 140); ALTER PUBLICATION changefeed DROP TABLE t; INSERT INTO t VALUES (15, 150)});
is($named->event->{json}{new}{id}, 14, 'what came before it left the publication');
is_unpublished($named, 't', 'public', 'a table leaves the publication: its streams are told');
is($both->event->{json}{collection}, 't', 'a stream of several') and is_unpublished($both, 't', 'public', 'is told which');
is($server->get('/cdc/t/poll')->{status}, 404, 'it cannot be subscribed to');
$server->sql('INSERT INTO aside VALUES (1)');
is($both->event->{json}{collection}, 'aside', 'the others go on');
is($all->event->{json}{new}{id}, 14, 'a stream of all');
is($all->event->{json}{collection}, 'aside', 'is not told');
$server->publish('t');
$server->sql('INSERT INTO t VALUES (16, 160)');
is($named->event->{json}{new}{id}, 16, 'published again: the streams that stayed go on');
is($both->event->{json}{collection}, 't', 'all of them');
is($all->event->{json}{new}{id}, 16, 'and *');

$server->sql('ALTER PUBLICATION changefeed SET TABLE aside, city');
is_unpublished($named, 't', 'public', 'SET TABLE: those it leaves out');
is_unpublished($both, 't', 'public', 'are said to each of their streams');
is($server->get('/cdc/house/poll')->{status}, 404, 'and are gone');

# ---- tables that are renamed and dropped
my $aside = $server->stream('/cdc/aside');
$server->sql('INSERT INTO aside VALUES (2); ALTER TABLE aside RENAME TO beside; INSERT INTO beside VALUES (3)');
is($aside->event->{json}{new}{id}, 2, 'a table under its old name');
is_unpublished($aside, 'aside', 'public', 'renamed: the name is no longer published');
is($both->event->{json}{document_id}, 2, 'as for the stream of several');
is_unpublished($both, 'aside', 'public', 'which has nothing left, and stays open');
is_deeply([map { "$_->{json}{collection} $_->{json}{new}{id}" } $all->events(2)], ['aside 2', 'beside 3'], 'and goes on under the new one');
my $beside = $server->stream('/cdc/beside');
$server->sql('CREATE SCHEMA attic; ALTER TABLE beside SET SCHEMA attic; INSERT INTO attic.beside VALUES (4)');
is_unpublished($beside, 'beside', 'public', 'moved to another schema');
is($all->event->{json}{schema}, 'attic', 'where it goes on');
my $attic = $server->stream('/cdc/attic.beside');
$server->sql('DROP TABLE attic.beside');
is_unpublished($attic, 'beside', 'attic', 'dropped');
$server->sql('CREATE TABLE attic.beside (other text)');
$server->publish('attic.beside');
$server->sql(q{INSERT INTO attic.beside VALUES ('new')});
is_deeply($attic->event->{json}{new}, {other => 'new'}, 'made again: the stream goes on, with the new columns');

# Under one name again and again: what the feed knows of those before is forgotten, of their neighbours nothing.
$server->sql(join('', map { "DROP TABLE attic.beside; CREATE TABLE attic.beside (id int);
	ALTER PUBLICATION changefeed ADD TABLE attic.beside; INSERT INTO attic.beside VALUES ($_);\n" } 1 .. 150)
	  . 'INSERT INTO city VALUES (150)');
$server->wait_for_feed;
is_deeply([map { $_->{new}{id} } $server->poll_all('attic.beside,city', since => $attic->{last_id})], [1 .. 150, 150],
	'made again and again: each row arrives, also of others');

# ---- names of which the walsender says nothing: of partitioned tables, and before 16 of schemas
$server->sql(join '', map { "CREATE TABLE $_ (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE ${_}_0 PARTITION OF $_ DEFAULT;" } 'north', 'south');
$server->publish($_) for 'north', 'south';
$server->sql('INSERT INTO north VALUES (1); INSERT INTO south VALUES (1); CREATE SCHEMA hall');

# Renames what was streamed, and writes once the feed has seen it.
sub names_after
{
	my ($rename, $insert) = @_;
	$server->wait_for_feed;
	my $reconnects = $server->status('reconnects_total');
	$server->sql($rename);
	wait_for(sub { $server->status('reconnects_total') > $reconnects }, 'the stream begins again');
	my $cursor = $server->now_lsn;
	$server->sql($insert);
	$server->wait_for_feed;
	return [map { "$_->{schema}.$_->{collection} $_->{document_id}" } $server->poll_all('*', since => $cursor)];
}

is_deeply(names_after('ALTER TABLE north RENAME TO east', 'INSERT INTO east VALUES (2)'), ['public.east 2'], 'a partitioned table is renamed');
like($server->log, qr/WARNING: a table has another name or schema by now/, 'the log says why the stream was begun again');
is_deeply(names_after('BEGIN; ALTER TABLE east RENAME TO west; ALTER TABLE south RENAME TO east; ALTER TABLE west RENAME TO south; COMMIT',
		'INSERT INTO south VALUES (3); INSERT INTO east VALUES (4)'),
	['public.south 3', 'public.east 4'], 'two change their names');
is_deeply(names_after('ALTER TABLE south SET SCHEMA hall', 'INSERT INTO hall.south VALUES (5)'), ['hall.south 5'], 'one is moved to another schema');
$server->publish('hall.chair', 'id int PRIMARY KEY');
$server->sql('INSERT INTO hall.chair VALUES (1)');
is_deeply(names_after('ALTER SCHEMA hall RENAME TO lobby', 'INSERT INTO lobby.chair VALUES (2); INSERT INTO lobby.south VALUES (6)'),
	['lobby.chair 2', 'lobby.south 6'], 'a schema is renamed');
SKIP:
{
	skip('schemas are published from PostgreSQL 15 on', 3) if $server->sql('SHOW server_version_num') < 150000;
	$server->sql('CREATE SCHEMA shown; ALTER PUBLICATION changefeed ADD TABLES IN SCHEMA shown;
		CREATE TABLE loaded (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE loaded_0 PARTITION OF loaded DEFAULT; INSERT INTO loaded VALUES (1)');
	is_deeply(names_after('ALTER TABLE loaded SET SCHEMA shown', 'INSERT INTO shown.loaded VALUES (2)'), ['shown.loaded 2'],
		'a partitioned table is moved into a schema that is published');
	is_deeply(names_after('ALTER TABLE shown.loaded SET SCHEMA public', 'INSERT INTO loaded VALUES (3)'), [], 'and out of it');

	# before the stream begins, and behind what it begins with
	$server->configure('changefeed.enabled' => 'off');
	$server->reload;
	wait_for(sub { $server->sql('SELECT active FROM pg_replication_slots') eq 'f' }, 'the slot is let go');
	$server->sql($_) for 'INSERT INTO loaded VALUES (4)', 'ALTER TABLE loaded SET SCHEMA shown', 'INSERT INTO shown.loaded VALUES (5)';
	$server->configure('changefeed.enabled' => 'on');
	$server->reload;
	$server->wait_ready;
	$server->wait_for_feed;
	my ($cursor, $id) = ($server->now_lsn, 5);
	ok(wait_for(sub { $id++; $server->sql("INSERT INTO shown.loaded VALUES ($id)"); $server->wait_for_feed; $server->poll_all('*', since => $cursor) }),
		'a partitioned table that was moved so while the feed was away');
}
my $reconnects = $server->status('reconnects_total');

# ---- a table that is locked for long: to ask what is published waits for it, which must not hold up the stream of the others
$server->publish('locked', 'id int PRIMARY KEY');
if ($server->sql('SHOW server_version_num') < 160000)
{
	# from 16 on the view locks each table by itself
	my $view = $server->sql(q{SELECT pg_get_viewdef('pg_publication_tables'::regclass)});
	$view =~ s/WHERE \(c\.oid = gpt\.relid\)/WHERE c.oid = gpt.relid AND public.lock_it(gpt.relid)/ or die "another view: $view";
	$server->sql(q{CREATE FUNCTION public.lock_it(oid) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN
		EXECUTE format('LOCK TABLE %s IN ACCESS SHARE MODE', $1::regclass); RETURN true; END$$});
	$server->sql("SET allow_system_table_mods = on; CREATE OR REPLACE VIEW pg_catalog.pg_publication_tables AS $view");
}
$server->publish('fresh', 'id int PRIMARY KEY');
my $fresh = $server->stream('/cdc/fresh');
my $locker = $server->session;
$locker->query($_) for 'BEGIN', 'LOCK TABLE locked';
wait_for(sub { $server->sql(q{SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'locked'::regclass}) == 1 }, 'the feed waits for the lock');
$server->sql('INSERT INTO fresh VALUES (1)');
is(($fresh->event // {})->{json}{document_id}, '1', 'a locked table: a table whose first change it is, is streamed');
ok(wait_for(sub { $server->log =~ /cannot read what is published: canceling statement due to lock timeout; it is asked again/ }, 'the log says it'),
	'a locked table: the log says what cannot be asked');
my $written = $server->sql(q{SELECT pg_current_wal_insert_lsn() - '0/0'});
ok(wait_for(sub { $server->metric('server_lsn') >= $written }, 'the end of the WAL'), 'a locked table: how far the WAL is, is known');
is($server->status('reconnects_total'), $reconnects, 'a locked table: nothing has to connect again');
$server->sql('CREATE TABLE late (id int PRIMARY KEY); ALTER PUBLICATION changefeed ADD TABLE late; ALTER PUBLICATION changefeed DROP TABLE fresh');
my $late = $server->get('/cdc/late/poll');
is($late->{status}, 503, 'a locked table: whether another is published is not known');
like($late->{json}{detail}, qr/which a lock on a published table can cause/, 'and what can be the reason');
$locker->query('COMMIT');
ok(wait_for(sub { $server->get('/cdc/late/poll')->{status} == 200 }, 'it is known'), 'a locked table: afterwards it is asked again');
is_unpublished($fresh, 'fresh', 'public', 'a locked table: that another has left is said then');

# ---- the same once more from the ring
my @again = $server->stream("/cdc/t?since_lsn=$start")->{status};
is($again[0], 404, 'what is not published is not read from the ring either');
my @polled = $server->poll_all('*', since => $start);
is_deeply([map { $_->{new} } @polled[0 .. 12]], $expected, 'read from the ring after it all, each change has the columns it was made with');
$server->pg_stop('immediate');
$server->pg_start;
$server->wait_ready;
is_deeply([map { $_->{new} } ($server->poll_all('*', since => $start))[0 .. 12]], $expected, 'also after a crash');

done_testing();
