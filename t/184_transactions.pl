# Transactions of every kind: what was rolled back is never seen, and what is prepared comes when it is committed.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use Test::More;

my $server = ChangefeedTest->start(changefeed => {heartbeat => 1}, postgresql => {logical_decoding_work_mem => '64kB'});
$server->sql('CREATE TYPE pair AS (x int, y text)');
$server->publish('t', 'id int PRIMARY KEY, v text, p pair');
$server->sql('CREATE TABLE unpublished (id int)');
my $stream = $server->stream('/cdc/t');

sub ids { return [map { $_->{json}{document_id} } $stream->events($_[0])]; }

# ---- savepoints
$server->sql(q{
	BEGIN; INSERT INTO t VALUES (1); SAVEPOINT a; INSERT INTO t VALUES (2); SAVEPOINT b; INSERT INTO t VALUES (3); ROLLBACK TO b; INSERT INTO t VALUES (4);
	RELEASE a; SAVEPOINT c; INSERT INTO t VALUES (5); ROLLBACK TO c; INSERT INTO t VALUES (6); COMMIT;
	BEGIN; INSERT INTO t VALUES (7); ROLLBACK;
	DO $$ BEGIN INSERT INTO t VALUES (8); BEGIN INSERT INTO t VALUES (9); RAISE EXCEPTION 'x';
		EXCEPTION WHEN raise_exception THEN INSERT INTO t VALUES (10); END; END $$});
my @events = $stream->events(6);
is_deeply([map { $_->{json}{document_id} } @events], [1, 2, 4, 6, 8, 10], 'savepoints: only what was not rolled back');
is_deeply([map { $_->{id} =~ s/.*-//r } @events], [1, 2, 3, 4, 1, 2], 'counted without gaps');

# ---- prepared
$server->sql(q{BEGIN; INSERT INTO t VALUES (11); PREPARE TRANSACTION 'one';
	BEGIN; INSERT INTO t VALUES (12); PREPARE TRANSACTION 'two'; INSERT INTO t VALUES (13)});
is_deeply(ids(1), [13], 'a prepared transaction is not seen yet');
$server->sql(q{COMMIT PREPARED 'two'; ROLLBACK PREPARED 'one'; INSERT INTO t VALUES (14)});
is_deeply(ids(2), [12, 14], 'but when it is committed, and not if it is rolled back');

# ---- large ones, which spill to disk, at once with small ones
my $large = $server->session;
$large->query('BEGIN');
$large->query(q{INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1001, 6000) i});
$large->query('SAVEPOINT s');
$large->query(q{INSERT INTO t SELECT i, repeat('y', 100) FROM generate_series(6001, 9000) i});
$large->query('ROLLBACK TO s');
$server->sql('INSERT INTO t VALUES (15)');
$large->query('UPDATE t SET v = NULL WHERE id = 1001');
$large->query('COMMIT');
is_deeply(ids(1), [15], 'a small transaction overtakes a large one that committed later');
@events = $stream->events(5001);
is_deeply([map { $_->{json}{document_id} } @events], [1001 .. 6000, 1001], 'which then comes whole, in its order');
is(scalar(grep { $_->{json}{xid} == $events[0]{json}{xid} } @events), 5001, 'of one xid');
ok(wait_for(sub { $server->sql(q{SELECT spill_txns FROM pg_stat_replication_slots WHERE slot_name = 'changefeed'}) > 0 }, 'spilled'), 'and had to be spilled');

# ---- empty ones
my ($before) = $stream->{last_id} =~ /(\d+)/;
my $lsn = $server->sql(q{INSERT INTO unpublished VALUES (1); BEGIN; SELECT txid_current(); COMMIT; SELECT pg_current_wal_insert_lsn() - '0/0'});
$lsn =~ s/.*\n//s;
ok(wait_for(sub { my $block = $stream->block or return;
	my ($id) = ($block->{id} // '') =~ /^(\d+)/; return !defined $block->{data} && $id >= $lsn; }, 'a keep-alive passes them'),
	'transactions without changes for the stream only move it on');

# ---- replicated ones, with an origin and its clock
$server->sql(q{
	SELECT pg_replication_origin_create('elsewhere');
	SELECT pg_replication_origin_session_setup('elsewhere');
	BEGIN; SELECT pg_replication_origin_xact_setup('0/1', '2099-12-31 00:00:00+00'); INSERT INTO t VALUES (16, 'from afar', (1, 'a')); COMMIT;
	BEGIN; SELECT pg_replication_origin_xact_setup('0/2', '2001-01-01 00:00:00+00'); INSERT INTO t VALUES (17, 'from afar', (2, 'b')); COMMIT});
@events = $stream->events(2);
is_deeply([map { [@{$_->{json}}{qw(document_id timestamp_ms)}] } @events], [[16, 4102358400000], [17, 978307200000]],
	'an origin\'s changes have the time of its commit');
is_deeply([map { $_->{json}{new}{p} } @events], [{x => 1, y => 'a'}, {x => 2, y => 'b'}], 'and everything else');
my @polled = $server->poll_all('t', limit => 1000);
is_deeply([map { $_->{document_id} } @polled], [1, 2, 4, 6, 8, 10, 13, 12, 14, 15, 1001 .. 6000, 1001, 16, 17], 'a poll has the same');

done_testing();
