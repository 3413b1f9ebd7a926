# What the slot holds back: never more for a client, slow, stopped or away; a bounded amount under load; nothing for a table
# that does not change beside others that do. And a fast shutdown in the middle of all that is fast.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use Test::More;
use Time::HiRes qw(time);

# At most a 64th of the ring is received and not yet safe, which is 1 MB here, and what comes while the disk is waited for.
# How long that is is the disk's affair: one look in four may be at more than the first bound, and none at more than the second.
my $ring_mb = 64;
my ($mostly_below, $always_below) = (3 << 20, 16 << 20);

my $server = ChangefeedTest->start(changefeed => {heartbeat => 1}, postgresql => {'changefeed.ring_size' => "${ring_mb}MB"});
$server->publish('busy', 'id int PRIMARY KEY, filler text');
$server->publish('quiet', 'id int PRIMARY KEY');
my $quiet = $server->stream('/cdc/quiet');
my $next = 1;

sub is_confirmed
{
	my ($what) = @_;
	my $start = time;
	ok($server->wait_confirmed, sprintf '%s: the slot follows to the end, in %.1f s', $what, time - $start);
	return;
}

sub write_busy
{
	my ($count) = @_;
	$server->sql("INSERT INTO busy SELECT i, repeat('x', 1000) FROM generate_series($next, $next + $count - 1) i");
	$next += $count;
	return;
}

# ---- no client, one that reads nothing, one that was here and is away: none of them holds anything back
write_busy(20_000);
is_confirmed('nobody reads');
my $stalled = $server->stream('/cdc/busy?since_lsn=earliest');
my $away = $server->stream('/cdc/busy');
my $resume = $away->{last_id};
$away->close;
write_busy(20_000);
is_confirmed('one reads nothing, one is away');
my $before = $server->confirmed_lsn;
my @idle = map { $server->stream("/cdc/busy?since_lsn=$_") } 'earliest', 'now', $resume;
$_->close for @idle;
$server->poll('/cdc/busy/poll?since_lsn=earliest&limit=1');
wait_for(sub { $server->sql("SELECT '" . $server->confirmed_lsn . "'::pg_lsn >= pg_current_wal_insert_lsn() - 65536") eq 't' }, 'it stays there');
is($server->sql("SELECT '" . $server->confirmed_lsn . "'::pg_lsn - '$before'::pg_lsn < 65536"), 't', 'clients that come, read and go do not move it');

# ---- under load: how much is received and not confirmed
$server->sql(q{CREATE TABLE control (stop boolean); INSERT INTO control VALUES (false);
	CREATE PROCEDURE write_until_stopped(first int) LANGUAGE plpgsql AS $$
	BEGIN
		WHILE NOT (SELECT stop FROM control) LOOP
			INSERT INTO busy SELECT i, repeat('y', 1000) FROM generate_series(first, first + 99) i;
			first := first + 100;
			COMMIT;
		END LOOP;
	END $$});
my @writers = map { my $session = $server->session; $session->send("CALL write_until_stopped($_)") } 100_000_000, 200_000_000;
my $looks = $server->session;
my $written = $server->now_lsn;
my @held;
while ($looks->query("SELECT pg_current_wal_insert_lsn() - '$written'::pg_lsn") < 100 << 20)
{
	push @held, $looks->query(q{SELECT streamed_lsn - confirmed_lsn FROM changefeed.status()});
}
$looks->close;
@held = sort { $a <=> $b } @held;
my ($mostly, $most) = @held[@held * 3 / 4, -1];
cmp_ok($mostly, '<', $mostly_below,
	sprintf 'under load: in three of four of %d looks, less than %.1f MB were received and not confirmed', scalar @held, $mostly / 2**20);
cmp_ok($most, '<', $always_below, sprintf 'in none more than %.1f MB', $most / 2**20);

# ---- a fast shutdown, with writers at work, a client that reads nothing, and more to send than was sent
my $start = time;
is($server->pg_stop('fast'), 0, 'pg_ctl stop -m fast under load');
cmp_ok(time - $start, '<', 10, sprintf 'took %.1f s', time - $start);
eval { $_->finish } for @writers;
$server->pg_start;
$server->wait_ready;
is_confirmed('after the restart');

# ---- the quiet table: its reader has missed nothing, wherever it resumes
my $late = $server->stream('/cdc/quiet', headers => {'Last-Event-ID' => $quiet->{last_id}});
my $seen = $server->stream('/cdc/quiet');
wait_for(sub { my $block = $seen->block; $block && !defined $block->{data} && $block->{id} }, 'a keep-alive');
my $kept = $seen->{last_id};
write_busy(90_000);    # more than the ring holds
$server->wait_for_feed;
$server->sql('INSERT INTO quiet VALUES (1)');
for my $case (['that stays', $seen], ['from before the restart', $late],
	['that resumes where a keep-alive left it', $server->stream('/cdc/quiet', headers => {'Last-Event-ID' => $kept})])
{
	my ($who, $stream) = @$case;
	my $event = $stream->event;
	is($event && "$event->{event} $event->{json}{document_id}", 'insert 1', "a reader of a quiet table $who: no gap, and the change");
}
is_confirmed('a quiet table beside a busy one');

done_testing();
