# Whose history it is: the slot is dropped or read by somebody else, the database renamed, the server restored from a base
# backup, a standby promoted. Where changes were missed, or may have been, cursors from before are told so; where none were, nothing is.

use strict;
use warnings;
BEGIN { $ENV{CHANGEFEED_TEST_SECONDS} //= 600 }    # six servers, one after the other
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use HTTP::Tiny;
use Test::More;
use Time::HiRes qw(time);

my $server = ChangefeedTest->start(changefeed => {heartbeat => 1}, postgresql => {'changefeed.ring_size' => '4MB', wal_keep_size => '64MB'});
$server->publish('users', 'id text PRIMARY KEY');
my $number = 0;

sub slot { my ($on) = @_; return $on->sql(q{SELECT active FROM pg_replication_slots WHERE slot_name = 'changefeed'}); }

# Writes a row and returns its id.
sub write_row
{
	my ($on) = @_;
	my $document = 'u' . ++$number;
	$on->sql("INSERT INTO users VALUES ('$document')");
	$on->wait_for_feed;
	my ($change) = grep { $_->{document_id} eq $document } $on->poll_all('users');
	return $change->{id};
}

# Cursors from before are told of another history, and what is committed from now on arrives.
sub is_told
{
	my ($what, $on, $cursor, $line) = @_;
	$on->wait_ready;
	like($on->log, $line, "$what: the log says so");
	my $now = write_row($on);
	is($on->get("/cdc/users/poll?since_lsn=$cursor")->{status}, 410, "$what: a poll with a cursor from before gets 410");
	my $stream = $on->stream('/cdc/users', headers => {'Last-Event-ID' => $cursor});
	my $event = $stream->event;
	is($event && $event->{event}, 'reset', "$what: a stream gets a reset");
	my @events = $stream->events_until(sub { $_[0]{id} eq $now });
	is(@events && $events[-1]{id}, $now, "$what: and what is committed from now on");
	return;
}

sub is_not_told
{
	my ($what, $on, $cursor) = @_;
	$on->wait_ready;
	my $now = write_row($on);
	my $stream = $on->stream('/cdc/users', headers => {'Last-Event-ID' => $cursor});
	my @events = $stream->events_until(sub { ($_[0]{id} // '') eq $now });
	ok(!(grep { $_->{event} !~ /^(insert|delete)$/ } @events), "$what: a stream resumes without a word");
	is($events[-1] && $events[-1]{id}, $now, "$what: and gets what is committed from now on");
	return;
}

# The feed lets go of the slot, and takes it again.
sub let_go
{
	$server->configure('changefeed.enabled' => 'off');
	$server->reload;
	wait_for(sub { slot($server) ne 't' }, 'the slot is free');
	return;
}

sub take_again
{
	$server->configure('changefeed.enabled' => 'on');
	$server->reload;
	return;
}

sub recvlogical
{
	my (@options) = @_;
	return ("$server->{bindir}/pg_recvlogical", '-h', $server->{dir}, '-U', 'postgres', '-d', $server->{database},
		'-S', 'changefeed', '-o', 'proto_version=1', '-o', 'publication_names=changefeed',
		'-f', '/dev/null', '--start', @options);
}

# ---- another consumer holds the slot, without taking anything
my $cursor = write_row($server);
let_go();
my $taker = $server->background('taker', recvlogical('--status-interval=0', '--fsync-interval=0'));
wait_for(sub { slot($server) eq 't' }, 'pg_recvlogical has the slot');
take_again();
ok(wait_for(sub { (eval { $server->status('message') } // '') =~ /replication slot "changefeed" is in use by the server's process \d+/ }, 'status() says it'),
	'a slot in use: status() says by whom');
like($server->log, qr/WARNING: replication slot "changefeed" is in use/, 'a slot in use: so does the log');
is($server->get('/readyz')->{status}, 503, 'a slot in use: /readyz says 503');
is($server->get('/cdc/users/poll')->{status}, 200, 'a slot in use: what there is is served');
$server->sql('CREATE TABLE behind AS SELECT i FROM generate_series(1, 10000) i');
ok(wait_for(sub { ($server->get('/cdc')->{json}{feed}{lag_bytes} // 0) > 300_000 }, 'the lag grows'),
	'a slot in use: GET /cdc says how far the feed is behind');
like($server->metric('feed_lag_bytes'), qr/^[3-9]\d{5}$/, 'a slot in use: so does /metrics');
like($server->metric('slot_lag_bytes'), qr/^[3-9]\d{5}$/, 'a slot in use: and what the slot keeps');
kill('KILL', $taker);
waitpid($taker, 0);
is_not_told('a slot that was only held', $server, $cursor);

# ---- another consumer takes changes and confirms them: those are missing
$cursor = write_row($server);
let_go();
$server->sql(q{INSERT INTO users VALUES ('taken by another')});
my $end = $server->now_lsn;
is(run_command(recvlogical("--endpos=$end")), 0, 'pg_recvlogical takes what there is');
take_again();
is_told('a slot that somebody else has read', $server, $cursor, qr/it ends at .* and the slot goes on at .*: somebody else read or advanced it/);

# ---- dropped while the feed is away, and while it streams
$cursor = write_row($server);
let_go();
$server->sql(q{SELECT pg_drop_replication_slot('changefeed');
	SELECT pg_create_logical_replication_slot('changefeed', 'pgoutput', false, true)});
take_again();
ok(wait_for(sub { (eval { $server->status('message') } // '') =~ /made with two_phase/ }, 'status() says it'), 'a slot with two_phase: refused');
let_go();
$server->sql(q{SELECT pg_drop_replication_slot('changefeed')});
take_again();
is_told('a slot that was dropped', $server, $cursor, qr/it ends at .* and the slot is new and starts at/);

sub drop_slot_of_feed
{
	return wait_for(sub { eval { $server->sql(q{SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots;
		SELECT pg_drop_replication_slot('changefeed')}); 1 } }, 'the slot is dropped between two attempts of the feed');
}

# Workers without clients are not woken for a new history: connections that are open already ask before they have seen it.
sub begin_history_unseen
{
	my $history = $server->sql('SELECT history FROM changefeed.status()');
	drop_slot_of_feed();
	return wait_for(sub { $server->sql("SELECT history > $history FROM changefeed.status()") eq 't' }, 'a new history');
}

my @clients = map { HTTP::Tiny->new(keep_alive => 1) } 1 .. 8;
$_->get($server->url('/healthz')) foreach @clients;
begin_history_unseen();
is(join(' ', map { $_->get($server->url('/cdc/users/poll'))->{status} } @clients), join(' ', (200) x 8),
	'a poll that begins in a new history is not told of it');
$server->wait_ready;

my @sockets = map { $server->stream('/healthz')->{socket} } 1 .. 8;
begin_history_unseen();
my @streams = map { $server->stream('/cdc/users?on_gap=fail', socket => $_) } @sockets;
$server->wait_ready;
$server->sql(q{INSERT INTO users VALUES ('seen')});
is(join(' ', map { my $event = $_->event; $event ? $event->{json}{document_id} : 'ended' } @streams), join(' ', ('seen') x 8), 'nor is a stream');
$_->close foreach @streams;
$server->wait_ready;

my $stream = $server->stream('/cdc/users');
my $failing = $server->stream('/cdc/users?on_gap=fail');
$cursor = write_row($server);
is(join(' ', map { $_->event->{id} } $stream, $failing), "$cursor $cursor", 'two streams are open');
my %waiting = map { $_ => $server->stream("/cdc/users/poll?since_lsn=$cursor&wait=60&on_gap=$_", no_read => 1) } qw(warn fail);
wait_for(sub { $server->metric('polls_waiting') == 2 }, 'two polls wait');
my $dropped = drop_slot_of_feed();
ok($dropped, 'a slot is dropped while the feed streams');
$server->wait_ready;
my $after = write_row($server);
my @events = $stream->events_until(sub { ($_[0]{id} // '') eq $after });
is_deeply([map { $_->{event} } @events], ['reset', 'insert'], 'an open stream is told in place, and goes on');
ok(!$failing->event && $failing->{ended}, 'one with on_gap=fail ends');
is($failing->{text} . $failing->{raw}, '', 'behind a whole block');
$waiting{fail}->read_head;
is($waiting{fail}{status}, 410, 'a poll that waits is told, too');
like($waiting{warn}->body, qr/"reset":true/, 'and one that does not want to fail');

# ---- the database is renamed: the slot goes with it, the ring's history is of that name
$cursor = write_row($server);
$server->make_slot_forget;
let_go();
$server->sql('ALTER DATABASE postgres RENAME TO renamed', 'template1');
$server->{database} = 'renamed';
take_again();
ok(wait_for(sub { $server->log =~ /WARNING: .*database "postgres" does not exist/ }, 'the log says it'),
	'a renamed database: the log says that it is not there');
$server->configure('changefeed.database' => 'renamed');
$server->pg_stop;
$server->pg_start;
is_told('a renamed database', $server, $cursor, qr/it is of database "postgres", not "renamed"/);

# ---- a base backup, taken while it runs: it has the ring and no slot
sub copy_of
{
	my (@options) = @_;
	my $copy = ChangefeedTest->new(changefeed => {heartbeat => 1}, postgresql => $server->{postgresql});
	run_command('/bin/rm', '-rf', $copy->{data});
	my ($status, $output) = run_command("$server->{bindir}/pg_basebackup", '-h', $server->{dir}, '-U', 'postgres', '-D', $copy->{data},
		'-c', 'fast', '-X', 'stream', @options);
	$status == 0 or die "pg_basebackup: $output";
	$copy->{database} = 'renamed';
	$copy->configure(unix_socket_directories => $copy->{dir}, 'changefeed.config_file' => $copy->{config_file},
		@options ? (primary_conninfo => "host=$server->{dir} user=postgres") : ());
	return $copy;
}

$cursor = write_row($server);
my $restored = copy_of();
my $later = write_row($server);    # the backup does not have it
$restored->pg_start;
is_told('restored from a base backup', $restored, $cursor, qr/the slot is new and starts at/);
is($restored->sql("SELECT count(*) FROM users WHERE id = 'u" . ($number - 1) . "'"), 0, 'restored from a base backup: it is another server now');
is_not_told('the server that was copied', $server, $cursor);
$restored->pg_stop;

# ---- a standby: does nothing until it is promoted, then begins a history of its own
my $standby = copy_of('-R');
$cursor = write_row($server);
$standby->pg_start;
wait_for(sub { $standby->sql("SELECT count(*) FROM users WHERE id = 'u$number'") eq '1' }, 'the standby follows');
is($standby->get('/healthz')->{status}, 599, 'a standby: nobody listens');
like($standby->status('message'), qr/This server is a standby; the feed starts when it is promoted/, 'a standby: status() says so');
eval { $standby->sql(q{SELECT document_id FROM changefeed.changes('users')}) };
like($@, qr/changes of this database are not retained/, 'a standby: the ring that came with its backup is not shown, for it never goes on');

# With it, synchronous replication is possible: the feed must not be taken for a standby that commits wait for.
$server->configure(synchronous_standby_names => '*');
$server->reload;
wait_for(sub { $server->sql(q{SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync' AND application_name = 'walreceiver'}) eq '1' },
	'the standby is synchronous');
my $feed = $server->processes->{feed};
kill('STOP', $feed) or die "kill: $!";
is($server->sql(q{SET statement_timeout = '10s'; INSERT INTO users VALUES ('synchronous') RETURNING id}), 'synchronous',
	'synchronous_standby_names = *: a commit waits for the standby, not for the feed');
kill('CONT', $feed);

$server->pg_stop;
is($standby->sql('SELECT pg_promote()'), 't', 'the standby is promoted');
is_told('a promoted standby', $standby, $cursor, qr/(it is of timeline 1, and the server is on 2|the slot is new and starts at)/);
like($standby->sql('SELECT pg_walfile_name(pg_current_wal_lsn())'), qr/^00000002/, 'a promoted standby: on a timeline of its own');

$standby->pg_stop;

# ---- pg_upgrade: another cluster, whose WAL goes on where the old one's ended; before PostgreSQL 17 it leaves slots behind
my $old = ChangefeedTest->start(changefeed => {heartbeat => 1}, postgresql => {'changefeed.ring_size' => '4MB'});
$old->publish('users', 'id text PRIMARY KEY');
$cursor = write_row($old);
$old->pg_stop;
my $new = ChangefeedTest->new(changefeed => {heartbeat => 1}, postgresql => {'changefeed.ring_size' => '4MB'});
my ($upgraded, $output) = run_command('/bin/sh', '-c', 'cd "$1" && shift && exec "$@"', 'sh', $new->{dir},
	"$server->{bindir}/pg_upgrade", '-b', $server->{bindir}, '-B', $server->{bindir},
	'-d', $old->{data}, '-D', $new->{data}, '-U', 'postgres', '-s', $new->{dir});
is($upgraded, 0, 'pg_upgrade') or diag($output);
$new->pg_start;
is_told('upgraded by pg_upgrade', $new, $cursor, qr/the ring begins a new history/);
is($new->sql('SELECT count(*) FROM users'), 2, 'upgraded by pg_upgrade: the table, the publication and the extension are there');

$_->never_restarted for $server, $restored, $standby, $new;

done_testing();
