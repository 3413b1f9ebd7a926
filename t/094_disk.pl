# A disk that is full or broken: for the ring when it is made, for the ring while it is used, for the log, for the WAL. Nothing is
# confirmed that is not on disk; PostgreSQL works as far as it can; afterwards everything goes on by itself and nothing is missing.
# (The disk is test/faults/disk.c, between our programs and libc.)

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use Test::More;

my $server = ChangefeedTest->new(changefeed => {heartbeat => 1}, postgresql => {'changefeed.ring_size' => '4MB'});
my $faults = spew("$server->{dir}/faults", '');
$ENV{LD_PRELOAD} = $server->client_library('faults/disk');
$ENV{CHANGEFEED_DISK_FAULTS} = $faults;

# In place of the file, so that it is never half written.
sub disk { spew("$faults.new", join('', map { "$_\n" } @_)); rename("$faults.new", $faults) or die "rename: $!"; return; }

# ---- full when the ring is to be made
disk('fallocate 28 /ring.new');
$server->pg_start;
$server->sql('CREATE EXTENSION pg_changefeed; CREATE TABLE users (id text PRIMARY KEY); ALTER PUBLICATION changefeed ADD TABLE users');
ok(wait_for(sub { $server->log =~ /cannot use the ring ".*": No space left on device/ }, 'the log says it'),
	'no room for the ring: the log says so, and PostgreSQL works');
like($server->status('message'), qr/the server's log says why/, 'no room for the ring: status() points there');
is_deeply([glob "$server->{data}/pg_changefeed/*"], ["$server->{data}/pg_changefeed/ring.lock"], 'no room for the ring: nothing is left of it');
disk();
ok($server->wait_ready, 'with room again it starts by itself');

# ---- refusing to sync, with the feed alive, and with a feed that is killed meanwhile
my $stream = $server->stream('/cdc/users');
my (@written, $number);
sub insert { my $id = 'u' . ++$number; $server->sql("INSERT INTO users VALUES ('$id')"); push @written, $id; return $id; }
for my $error ([5, 'Input/output error'], [28, 'No space left on device'])
{
	my ($code, $text) = @$error;
	insert();
	is($stream->event->{json}{document_id}, $written[-1], "$text: before");
	$server->wait_confirmed;
	disk("sync $code /pg_changefeed/ring");
	ok(wait_for(sub { insert(); $server->status('message') eq "cannot write the ring file: $text" }, 'status() says it'), "$text: status() says so");
	my $before = $server->confirmed_lsn;
	insert() for 1 .. 10;
	my @got = $stream->events_until(sub { $_[0]{json}{document_id} eq $written[-1] });
	is(@got && $got[-1]{json}{document_id}, $written[-1], "$text: clients are served all the same");
	is($server->confirmed_lsn, $before, "$text: nothing is confirmed");
	is($server->get('/readyz')->{status}, 200, "$text: /readyz says that it streams");
	my $kept = $server->sql("SELECT pg_current_wal_insert_lsn() - '$before'::pg_lsn");
	ok($server->status('slot_lag_bytes') >= $kept, "$text: status() says how much WAL the slot keeps");
	ok(wait_for(sub { $server->metric('slot_lag_bytes') >= $kept }, 'the gauge'), "$text: so does /metrics");
	cmp_ok($server->status('lag_bytes'), '<', $kept, "$text: while the feed is not behind");

	my $feed = $server->processes->{feed};
	kill('KILL', $feed) or die "kill: $!";
	ok(wait_for(sub { $server->log =~ /cannot open ring file ".*": $text/ }, 'the log says it'),
		"$text: a feed that starts now waits for the disk, and says so");
	ok(wait_for(sub { $server->status("feed_state || ' ' || message") =~ /^stopped the feed exited with code 1; it is started again$/ }, 'status() says it'),
		"$text: status() does not go on saying what the last feed did");
	insert();
	is($server->get('/cdc/users/poll')->{status}, 200, "$text: what there is can still be read");
	is($server->confirmed_lsn, $before, "$text: nothing is confirmed by it");
	disk();
	$server->wait_ready;
	insert();
	@got = $stream->events_until(sub { $_[0]{json}{document_id} eq $written[-1] });
	is(@got && $got[-1]{json}{document_id}, $written[-1], "$text: when the disk is well everything goes on");
	ok($server->wait_confirmed, "$text: and is confirmed");
}

# The disk is back before anybody dies.
disk('sync 5 /pg_changefeed/ring');
ok(wait_for(sub { insert(); $server->status('message') =~ /^cannot write/ }, 'status() says it'), 'a short fault: status() says so');
disk();
ok(wait_for(sub { $server->status('message') =~ /^streaming/ }, 'status() takes it back'), 'a short fault: and takes it back');
like($server->log, qr/the ring file can be written again/, 'a short fault: so does the log');
ok($server->wait_confirmed, 'a short fault: the slot follows');

# ---- more than the ring holds, while it refuses: the server is held back, the slot keeps what is not safe
disk('sync 28 /pg_changefeed/ring');
$server->sql(q{CREATE TABLE big (id int PRIMARY KEY, filler text); ALTER PUBLICATION changefeed ADD TABLE big});
my $before = $server->confirmed_lsn;
$server->sql(q{INSERT INTO big SELECT i, repeat('x', 1000) FROM generate_series(1, 8000) i});
ok(wait_for(sub { $server->status('message') =~ /the ring is full until its file can be written: No space left/ }, 'status() says it'),
	'a full ring: status() says what it waits for');
is($server->confirmed_lsn, $before, 'a full ring: nothing is confirmed');
disk();
$server->wait_for_feed;
ok($server->wait_confirmed, 'a full ring: then the slot follows');
is(($server->poll_all('big'))[-1]{document_id}, '8000', 'a full ring: and the rest has come');

# ---- no room for the log
disk('log 28 -');
kill('KILL', $server->processes->{feed}) or die "kill: $!";
kill('KILL', $server->processes->{workers}[0]) or die "kill: $!";
insert();
my $arrived = wait_for(sub {
	my $poll = eval { $server->get('/cdc/users/poll?since_lsn=earliest') };
	$poll && ($poll->{json}{changes} // [])->[-1] && $poll->{json}{changes}[-1]{document_id} eq $written[-1] }, 'it goes on');
ok($arrived, 'a full log: processes are replaced and everything goes on');
disk();

# ---- no room for the WAL: PostgreSQL panics, we go on where it goes on
my $reader = $server->stream('/cdc/users');
insert();
is($reader->event->{json}{document_id}, $written[-1], 'WAL: before');
my $last = $reader->{last_id};
disk('write 28 /pg_wal/');
eval { $server->sql(q{INSERT INTO users VALUES ('never committed')}) };
like($server->log, qr/PANIC:.*No space left on device/, 'no room for WAL: PostgreSQL panics');
disk();
wait_for(sub { -e "$server->{data}/postmaster.pid" ? eval { $server->sql('SELECT 1') } : do { $server->pg_start; 1 } }, 'PostgreSQL is back');
$server->wait_ready;
insert();
my $resumed = $server->stream('/cdc/users', headers => {'Last-Event-ID' => $last});
is($resumed->event->{json}{document_id}, $written[-1], 'with room again: a client resumes where it was');

# ---- and altogether
$server->wait_for_feed;
my @rows = split /\n/, $server->sql(q{SELECT id FROM users ORDER BY substr(id, 2)::int});
is_deeply(\@rows, \@written, 'all rows are there');
is_deeply([map { $_->{document_id} } $server->poll_all('users')], [@rows[-$server->poll('/cdc/users/poll?limit=10000')->{count} .. -1]],
	'what the ring retains are the last of them, each once');

done_testing();
