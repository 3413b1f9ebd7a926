# Gaps: a cursor that the ring has left behind is told so, exactly, and only if something of its own is gone.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use Test::More;
use List::Util qw(sum0);
use Time::HiRes qw(time);

# One worker, so that what one client was sent tells how far the worker has come for another.
my $server = ChangefeedTest->start(
	h2o => {
		'num-threads' => 1,
		hosts => {default => {paths => {'/cdc' => {changefeed => {heartbeat => 1}},
			'/tenants' => {changefeed => {'tenant-column' => 'tenant', heartbeat => 4}}}}},
	},
	postgresql => {'changefeed.ring_size' => '1MB'}
);
$server->publish('users', 'id int PRIMARY KEY, filler text');
$server->publish('orders', 'id int PRIMARY KEY, filler text');
$server->publish('quiet', 'id int PRIMARY KEY');

sub fill_ring
{
	my ($table, $first, $count) = @_;
	$server->sql("INSERT INTO $table SELECT i, repeat('x', 1000) FROM generate_series($first, $first + $count - 1) i");
	$server->wait_for_feed;
	return;
}

# How often a process that is stopped has been woken meanwhile.
sub wakes { return sum0 map { slurp($_) =~ /^eventfd-count:\s+(\w+)/m ? hex $1 : () } glob "/proc/$_[0]/fdinfo/*"; }

$server->sql(q{INSERT INTO users VALUES (1, 'the first'), (2, 'the second'); INSERT INTO quiet VALUES (1)});
$server->wait_for_feed;
my @first = map { $_->{id} } @{$server->poll('/cdc/users/poll')->{changes}};
my $quiet_cursor = $server->poll('/cdc/quiet/poll')->{next_cursor}{since_lsn};

# Ten times the ring, users and orders alternating, in transactions of different sizes.
my $users = 2;
for my $round (0 .. 19)
{
	my $count = 100 + 37 * $round;
	fill_ring('users', $users + 1, $count);
	$users += $count;
	fill_ring('orders', 1000 * $round, 100);
}
my $oldest = $server->get('/cdc')->{json}{ring}{oldest};
my @retained = $server->poll_all('users');
my $retained = @retained;
cmp_ok($retained, '<', 2000, "the ring retains the last $retained of $users");
cmp_ok($retained, '>', 50, 'and it does retain some');

# ---- N is exact: all that the cursor had not seen, less what is still here
my $stream = $server->stream('/cdc/users', headers => {'Last-Event-ID' => $first[0]});
my $warning = $stream->event;
is($warning->{event}, 'warning', 'a gap is said');
is($warning->{data}, 'lagged ' . ($users - 1 - $retained) . ' events', 'N is exact');
my $next = $stream->event;
is($next->{id}, $retained[0]{id}, 'the stream goes on with the oldest it has');
my @rest = ($next, $stream->events($retained - 1));
is_deeply([map { $_->{json}{document_id} } @rest], [map { $_->{document_id} } @retained], 'and nothing after it is missing');

$stream = $server->stream('/cdc/users?operations=delete', headers => {'Last-Event-ID' => $first[0]});
fill_ring('orders', 100_000, 1);
$server->sql('DELETE FROM users WHERE id = 1');
is($stream->event->{event}, 'delete', 'operations that the stream does not want are no gap');

# Counted while nothing is evicted: the next checkpoint makes room for what was just written.
my ($oldest_before, $two, $both_retained);
do
{
	$oldest_before = $server->get('/cdc')->{json}{ring}{oldest};
	$two = $server->stream('/cdc/users,orders', headers => {'Last-Event-ID' => $first[0]})->event->{data};
	$both_retained = () = $server->poll_all('users,orders', parameters => '&operations=insert');
} until $server->get('/cdc')->{json}{ring}{oldest} eq $oldest_before;
like($two, qr/^lagged (\d+) events$/, 'two collections: a gap');
my ($lagged) = $two =~ /(\d+)/;
is($lagged, $users - 1 + 2001 - $both_retained, 'two collections: N is the sum');

# ---- who has missed nothing is told nothing
is($server->get("/cdc/quiet/poll?since_lsn=$quiet_cursor")->{json}{count}, 0, 'a cursor of a quiet table is older than the ring, and no gap');
ok(!exists $server->poll("/cdc/quiet/poll?since_lsn=$quiet_cursor&on_gap=warn")->{lagged}, 'nor one of no changes, with on_gap=warn');
my $quiet = $server->stream('/cdc/quiet?on_gap=fail', headers => {'Last-Event-ID' => $quiet_cursor});
is($quiet->{status}, 200, 'nor is it for a stream with on_gap=fail');
$quiet->close;
is($server->get('/cdc/users/poll?since_lsn=earliest&on_gap=fail')->{status}, 200, 'earliest is never a gap');
is($server->get('/cdc/users/poll?since_ms=1&on_gap=fail')->{status}, 200, 'nor is a time');
for my $query ('since_lsn=earliest', 'since_ms=1')
{
	is($server->stream("/cdc/users?$query")->event->{event}, 'insert', "a stream with $query begins with a change, without a word of a gap");
}

# ---- on_gap
my $gone = $server->get("/cdc/users?on_gap=fail", headers => {'Last-Event-ID' => $first[0]});
is($gone->{status}, 410, 'on_gap=fail: 410');
is($gone->{headers}{'content-type'}, 'application/problem+json', 'with a problem document');
is($gone->{json}{oldest}, $server->get('/cdc')->{json}{ring}{oldest}, 'that has the oldest cursor there is');
is($server->get("/cdc/users/poll?since_lsn=$first[0]")->{status}, 410, 'a poll fails by default');
my $warned = $server->get("/cdc/users/poll?since_lsn=$first[0]&on_gap=warn");
is($warned->{status}, 200, 'a poll with on_gap=warn goes on');
is($warned->{json}{changes}[0]{id}, ($server->poll_all('users'))[0]{id}, 'with the oldest');

# ---- a crowd with on_gap=fail that wants more counted than one turn has time for: that is nothing to ask the feed
$server->publish($_, 'id int PRIMARY KEY') for qw(left_hand right_hand);
my $before_both = $server->now_lsn;
$server->sql('DO $$ BEGIN FOR i IN 1 .. 5000 LOOP INSERT INTO left_hand VALUES (i); INSERT INTO right_hand VALUES (i); END LOOP; END $$');
fill_ring('users', 300_000, 3000);
my ($feed, $worker) = map { $_->{feed}, @{$_->{workers}} } $server->processes;
kill('STOP', $feed, $worker) == 2 or die "kill: $!";
my @crowd;
for my $names ('left_hand', 'right_hand', 'left_hand,right_hand')
{
	for my $bits (1 .. 15)
	{
		my $operations = join ',', map { $bits >> $_ & 1 ? (qw(insert update delete truncate))[$_] : () } 0 .. 3;
		push @crowd, $server->stream("/cdc/$names?on_gap=fail&operations=$operations&since_lsn=$before_both", no_read => 1);
	}
}
kill('CONT', $worker);
$_->read_head for @crowd;
is(join(' ', map { $_->{status} } @crowd), join(' ', map { $_ % 2 ? 410 : 200 } (1 .. 15) x 3), 'each of the crowd is told whether it has a gap');
is(wakes($feed), 0, 'and the feed is not asked');
kill('CONT', $feed);
undef @crowd;

# ---- cursors of another history
my $far = '18446744073709551615-1';
$stream = $server->stream('/cdc/users', headers => {'Last-Event-ID' => $far});
my $reset = $stream->event;
is($reset->{event}, 'reset', "a cursor beyond the WAL's end: reset");
is($stream->event->{id}, ($server->poll_all('users'))[0]{id}, 'then the oldest there is');
is($server->get('/cdc/users?on_gap=fail', headers => {'Last-Event-ID' => $far})->{status}, 410, 'with on_gap=fail: 410');
is($server->get("/cdc/users/poll?since_lsn=$far")->{status}, 410, 'a poll: 410');

# ---- a cursor a little ahead is waited for, not a reset
my $ahead = $server->now_lsn;
fill_ring('orders', 200_000, 1);
is($server->poll("/cdc/orders/poll?since_lsn=$ahead&wait=10")->{changes}[0]{document_id}, 200_000, 'the present end of the WAL is a cursor');

# ---- a stalled reader: it is told when it reads on, and nobody else waits for it
my $stalled = $server->stream('/cdc/users');
my $reader = $server->stream('/cdc/users');
my $big = 20_000;
$server->sql("INSERT INTO users SELECT i, repeat('y', 1000) FROM generate_series(1000000, 1000000 + $big - 1) i");
my ($got, $lost) = (0, 0);
while ($got + $lost < $big)
{
	my $event = $reader->event or last;
	if ($event->{event} eq 'warning')
	{
		($lost) = ($lost + $1) if $event->{data} =~ /lagged (\d+) events/;
	}
	else
	{
		$got++;
	}
}
is($got + $lost, $big, "a reader during a flood: $got received and $lost said to be lost are all");
my ($late_got, $late_lost, $last) = (0, 0, '');
while ($last ne 1000000 + $big - 1)
{
	my $event = $stalled->event or last;
	$late_lost += $1, next if $event->{event} eq 'warning' && $event->{data} =~ /lagged (\d+) events/;
	$late_got++;
	$last = $event->{json}{document_id};
}
is($late_got + $late_lost, $big, "one that read nothing meanwhile: $late_got and $late_lost are all");
cmp_ok($late_lost, '>', 0, 'it did miss some');

# ---- a row that is larger than the ring is still a change
$server->sql(q{INSERT INTO users VALUES (-1, (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 40000) i)); INSERT INTO users VALUES (-2, 'after')});
my @huge = $reader->events_until(sub { ($_[0]{json}{document_id} // '') eq '-2' });
my ($oversize) = grep { ($_->{json}{document_id} // '') eq '-1' || $_->{json}{oversize} } @huge;
ok($oversize && $oversize->{json}{oversize}, 'an oversize row arrives without its row, and says so');
is($huge[-1]{json}{document_id}, '-2', 'and what follows arrives');

# ---- a poll that waits moves on with what is not for it: only what it has not been told of yet can become a gap
$server->publish('shop', 'id int PRIMARY KEY, tenant int, filler text');
is($server->get('/cdc/shop/poll?tenant_id=7')->{status}, 400, 'where no tenant column is set, one tenant is not given what is of all');
my $since = $server->poll('/tenants/shop/poll?tenant_id=7')->{next_cursor}{since_lsn};
my $waiting = $server->stream("/tenants/shop/poll?tenant_id=7&since_lsn=$since&wait=60", no_read => 1);
wait_for(sub { $server->metric('polls_waiting') == 1 }, 'a poll waits');
my $other = $server->stream('/tenants/shop?tenant_id=8', json => 0);
for my $round (1 .. 20)
{
	$server->sql("INSERT INTO shop SELECT i, 8, repeat('x', 1000) FROM generate_series(100 * $round, 100 * $round + 99) i");
	$other->events(100);
}
$server->sql('INSERT INTO shop VALUES (1, 7)');
$waiting->read_head;
is($waiting->{status}, 200, "the changes of another tenant are no gap to a poll that waits");

# ---- a poll without a cursor has none: the ring passes it while it waits
$server->publish('silent', 'id int PRIMARY KEY');
$waiting = $server->stream('/cdc/silent/poll?wait=60', no_read => 1);
wait_for(sub { $server->metric('polls_waiting') == 1 }, 'a poll waits');
($worker) = @{$server->processes->{workers}};
kill('STOP', $worker) == 1 or die "kill: $!";
$server->sql('INSERT INTO silent VALUES (1)');
fill_ring('orders', 400_000, 4000);
kill('CONT', $worker);
$server->sql('INSERT INTO silent VALUES (2)');
my $answer = $waiting->body;
is($waiting->{status}, 200, 'a poll that began with the oldest change, and was given none yet, has no gap');
like($answer, qr/"document_id":"2".*"count":1\}/s, 'and gets the oldest there is now');

# ---- a silent stream hears from the server at least every `heartbeat` seconds
my $silent = $server->stream('/tenants/shop?tenant_id=9');
$silent->block;
my $longest = 0;
for (1 .. 2)
{
	my $from = time;
	$silent->block;
	$longest = time - $from if time - $from > $longest;
}
cmp_ok($longest, '<=', 4, sprintf('at most %.2f s between two keep-alives of a heartbeat of 4', $longest));

done_testing();
