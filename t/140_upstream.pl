# The other side: what the feed does to PostgreSQL, and what it says and does when PostgreSQL cannot serve it.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use Test::More;

my $server = ChangefeedTest->start(changefeed => {heartbeat => 1});
$server->publish('users', 'id text PRIMARY KEY');
my $stream = $server->stream('/cdc/users');

sub next_document { my $event = $stream->event; return $event && $event->{json} ? $event->{json}{document_id} : undef; }

# ---- never a synchronous standby
$server->configure(synchronous_standby_names => '*');
$server->reload;
wait_for(sub { $server->sql('SHOW synchronous_standby_names') eq '*' }, 'the setting is in force');
my $session = $server->session;
$session->query(q{SET statement_timeout = '5s'});
$session->query(q{SET synchronous_commit = local});
$session->query(q{INSERT INTO users VALUES ('local')});
is(next_document(), 'local', 'the feed goes on under synchronous_standby_names = *');
is($server->sql(q{SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum') AND flush_lsn IS NOT NULL}), 0,
	'and is no synchronous standby');

# ---- one that waits for a standby is waited for once, not once for each of its tables
$session->query(join(' ', map { "CREATE TABLE sync_$_ (id text PRIMARY KEY); ALTER PUBLICATION changefeed ADD TABLE sync_$_;" } 1 .. 5));
$server->configure(log_statement => 'all');
$server->reload;
wait_for(sub { $server->log =~ /statement: .*pg_last_wal_receive_lsn/ }, 'the catalog\'s connection is logged');
my $log_before = length $server->log;
my $insert = join(' ', map { "INSERT INTO sync_$_ VALUES ('waits');" } 1 .. 5);
my $waiting_session = $server->session->send("BEGIN; $insert COMMIT");
ok(wait_for(sub { @{$server->poll('/cdc/sync_5/poll')->{changes}} == 1 }, 'the last change'), 'a transaction that waits for a standby is served');
my @looks = substr($server->log, $log_before) =~ /statement: .*(locktype|indisprimary)/g;
like(join(' ', @looks), qr/^(locktype )+indisprimary( indisprimary){4}$/, 'waited for once, before its first table');
$server->configure(synchronous_standby_names => '', log_statement => 'none');
$server->reload;
$waiting_session->finish;

# ---- the slot follows, also while nothing is published
my $lsn = $server->sql(q{CREATE TABLE noise AS SELECT i FROM generate_series(1, 100000) i; SELECT pg_current_wal_insert_lsn()});
ok($server->wait_confirmed($lsn), 'the slot is confirmed past WAL without changes');
is($server->sql('SELECT count(*) FROM pg_replication_slots'), 1, 'one slot');
is($server->sql(q{SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'}), 1, 'one walsender streams');

# ---- the server answers nothing for a while: what the feed does not know is not taken for wrong
my @walsenders = split /\n/, $server->sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'walsender'});
is(kill('STOP', @walsenders), 2, 'the server hangs');
$server->sql(q{INSERT INTO users VALUES ('unseen'); CREATE TABLE late (id int PRIMARY KEY); ALTER PUBLICATION changefeed ADD TABLE late});
my $ahead = $server->now_lsn;
my $waiting = $server->stream("/cdc/users/poll?since_lsn=$ahead&wait=60", no_read => 1);
my $foreign = $server->stream('/cdc/users?since_lsn=18446744073709551615-1', no_read => 1);
my $unknown = $server->get('/cdc/late/poll');
is($unknown->{status}, 503, 'a table that was published a moment ago: 503');
ok($unknown->{headers}{'retry-after'}, 'with Retry-After');
wait_for(sub { $server->metric('polls_waiting') == 1 }, 'a cursor that was read a moment ago is waited for');
kill('CONT', @walsenders);
is(next_document(), 'unseen', 'it goes on');
ok(wait_for(sub { $server->get('/cdc/late/poll')->{status} == 200 }, 'late is served'), 'then the table is served');
$server->sql(q{INSERT INTO users VALUES ('seen')});
is(next_document(), 'seen', 'and so is what follows');
$waiting->read_head;
is($waiting->{status}, 200, 'the cursor was right');
$foreign->read_head;
is($foreign->event->{event}, 'reset', 'and one that is beyond the WAL is told so then');

# ---- the walsender is terminated, again and again
for my $round (1 .. 3)
{
	$server->sql('SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active');
	$server->sql("INSERT INTO users VALUES ('terminated $round')");
	is(next_document(), "terminated $round", "round $round: the feed connects again, nothing is lost or doubled");
}

# ---- a table leaves the publication, comes back, is dropped
$server->sql('ALTER PUBLICATION changefeed DROP TABLE users');
ok(wait_for(sub { $server->get('/cdc/users/poll')->{status} == 404 }, 'users is not published'), 'a table that leaves the publication: 404');
$server->sql(q{INSERT INTO users VALUES ('unpublished')});
$server->publish('users');
$server->sql(q{INSERT INTO users VALUES ('published')});
my $back = $server->stream('/cdc/users?since_lsn=earliest');
my @events = $back->events_until(sub { ($_[0]{json}{document_id} // '') eq 'published' });
is($events[-1]{json}{document_id}, 'published', 'it comes back');
ok(!(grep { $_->{json}{document_id} eq 'unpublished' } @events), 'what was written meanwhile is not delivered');
$server->sql('DROP TABLE users');
ok(wait_for(sub { $server->get('/cdc/users/poll')->{status} == 404 }, 'users is dropped'), 'a dropped table: 404');
$server->publish('users', 'id int PRIMARY KEY, other text');
$server->sql('INSERT INTO users VALUES (7)');
$back = $server->stream('/cdc/users?since_lsn=earliest');
@events = $back->events_until(sub { ($_[0]{json}{document_id} // '') eq '7' });
is_deeply($events[-1]{json}{new}, {id => 7, other => undef}, 'a table of the same name, with other columns');

# ---- the publication is dropped, nobody writes meanwhile: it is said, and a new one is enough
my $witness = $server->stream('/cdc/users');
my @told;
sub told_until { my ($id) = @_; push @told, $witness->events_until(sub { ($_[0]{json}{document_id} // '') eq $id }); return $told[-1]{json}{document_id}; }
$server->sql('DROP PUBLICATION changefeed');
ok(wait_for(sub { $server->get('/cdc/users/poll')->{status} == 404 }, 'users is not published'), 'a dropped publication: 404');
my ($hint) = (run_command($server->psql_command, '-c', q{SELECT * FROM changefeed.changes('users')}))[1] =~ /HINT:\s+(.*)/;
$server->sql($hint);
is($server->sql('SELECT pubviaroot FROM pg_publication'), 't', 'what the hint says makes a publication as CREATE EXTENSION does');
ok(wait_for(sub { $server->get('/cdc/users/poll')->{status} == 200 }, 'users is published'), 'a new publication is enough');
$server->sql('INSERT INTO users VALUES (8)');
is(told_until('8'), '8', 'a stream from before goes on');
is_deeply([map { $_->{event} } @told], [qw(unpublished insert)], 'and was told no more than that its table had left');

# ---- and somebody writes meanwhile: before version 18 PostgreSQL cannot pass over that, so there is a new slot
$server->sql('DROP PUBLICATION changefeed');
$server->sql('INSERT INTO users VALUES (9)');
ok(wait_for(sub { $server->status('feed_state') ne 'streaming' || $server->get('/cdc/users/poll')->{status} == 404 }, 'the feed notices'),
	'a dropped publication is noticed');
$server->sql('CREATE PUBLICATION changefeed FOR TABLE users');
ok(wait_for(sub { $server->get('/readyz')->{status} == 200 && $server->get('/cdc/users/poll')->{status} == 200 }, 'the feed streams again', 60),
	'a new publication is enough here, too');
$server->sql('INSERT INTO users VALUES (10)');
@told = ();
is(told_until('10'), '10', 'changes arrive again');
my $passes_over = $server->sql('SHOW server_version_num') >= 180000;
ok($passes_over || (grep { $_->{event} eq 'reset' } @told), 'a stream from before is told: ' . join(' ', map { $_->{event} } @told));
ok(!(grep { ($_->{json}{document_id} // '') eq '9' } @told), 'what was written without a publication is not delivered');

# ---- the slot is lost: a new history, and clients are told
$server->configure(max_slot_wal_keep_size => '1MB', wal_keep_size => 0, min_wal_size => '32MB', max_wal_size => '32MB');
$server->reload;
my $cursor = ($server->poll_all('users'))[-1]{id};
my $feed = $server->processes->{feed};
kill('STOP', $feed) or die "kill: $!";
for my $round (1 .. 30)
{
	$server->sql(q{INSERT INTO noise SELECT i FROM generate_series(1, 100000) i; SELECT pg_switch_wal(); CHECKPOINT});
	last if $server->sql(q{SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'changefeed'}) eq 'lost';
}
is($server->sql(q{SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'changefeed'}), 'lost', 'max_slot_wal_keep_size has taken the slot');
kill('CONT', $feed);
ok(wait_for(sub { $server->sql(q{SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'changefeed' AND wal_status <> 'lost' AND active}) == 1 },
	'a new slot', 60),
	'the feed makes a new slot');
$server->wait_ready;
$server->sql('INSERT INTO users VALUES (11)');
my $told = $server->stream('/cdc/users', headers => {'Last-Event-ID' => $cursor});
is($told->event->{event}, 'reset', 'clients from before get a reset');
is($told->event->{json}{document_id}, '11', 'and go on');

# ---- a server that is not set up: PostgreSQL works, and the feed says what is missing
# (Not even PostgreSQL starts so while there is a logical slot: this is also how to be rid of ours.)
$server->configure('changefeed.enabled' => 'off');
$server->reload;
ok(wait_for(sub { $server->sql(q{SELECT active FROM pg_replication_slots WHERE slot_name = 'changefeed'}) eq 'f' }, 'the slot is free'),
	'changefeed.enabled = off: the slot is let go');
$server->sql(q{SELECT pg_drop_replication_slot('changefeed')});
$server->pg_stop;
$server->configure(wal_level => 'replica', 'changefeed.enabled' => 'on');
$server->pg_start;
is($server->sql('SELECT 1'), 1, 'wal_level = replica: PostgreSQL works');
ok(wait_for(sub { $server->log =~ /wal_level/ }, 'the log says wal_level'), 'wal_level = replica: the log says so');
ok(wait_for(sub { $server->get('/readyz')->{status} == 503 }, 'not ready'), 'wal_level = replica: /readyz says 503');
is($server->get('/healthz')->{status}, 200, 'wal_level = replica: /healthz says 200');
$server->pg_stop;
$server->configure(wal_level => 'logical', 'changefeed.database' => 'nosuch');
$server->pg_start;
ok(wait_for(sub { $server->log =~ /"nosuch"/ }, 'the log names the database'), 'a database that is not there: the log names it');
is($server->get('/readyz')->{status}, 503, 'a database that is not there: /readyz says 503');

done_testing();
