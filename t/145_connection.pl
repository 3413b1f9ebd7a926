# The connection to PostgreSQL breaks in the middle of messages, is refused, hangs without a word, crawls: the feed notices,
# says what it waits for, and goes on where it was. Clients see a pause; nothing is lost or comes twice.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use ChangefeedTest::Proxy;
use Test::More;
use Time::HiRes qw(time);

my $seed = $ENV{CHANGEFEED_TEST_SEED} // int(rand 2**31);
my $cuts = $ENV{CHANGEFEED_CUTS} // 10;
srand $seed;
note("CHANGEFEED_TEST_SEED=$seed");

my $server = ChangefeedTest->new(changefeed => {heartbeat => 1}, postgresql => {'changefeed.ring_size' => '128MB'}); # all of it is compared at the end
my $proxy = ChangefeedTest::Proxy->new("$server->{dir}/.s.PGSQL.5432");
$server->configure('changefeed.conninfo' => "host=127.0.0.1 port=$proxy->{port} user=postgres dbname=postgres tcp_user_timeout=1000");
$server->pg_start;
$server->sql('CREATE EXTENSION pg_changefeed');
$server->wait_ready;
$server->publish('users', 'id int PRIMARY KEY, filler text');
my $stream = $server->stream('/cdc/users');
my $number = 0;

# Rows of some bytes to some kilobytes, in transactions of one to twenty.
sub write_some
{
	my $first = $number + 1;
	$number += 1 + int rand 20;
	$server->sql("INSERT INTO users SELECT i, repeat(md5(i::text), (300 * random())::int) FROM generate_series($first, $number) i");
	return;
}

# What came since the last time: every row, once, in order.
my $seen = 0;
sub is_complete
{
	my ($what) = @_;
	my @got = map { $_->{json}{document_id} } $stream->events_until(sub { ($_[0]{json}{document_id} // '') eq $number });
	is("@got", join(' ', $seen + 1 .. $number), "$what: every change, once, in order");
	$seen = $number;
	return;
}

# ---- cut in the middle of messages
for my $cut (1 .. $cuts)
{
	my $reconnects = $server->status('reconnects_total');
	$proxy->order('cut ' . int(rand 10 ** (2 + $cut % 4)));
	wait_for(sub { write_some(); $server->status('reconnects_total') > $reconnects }, "cut $cut");
}
is_complete("cut $cuts times");

# ---- refused for a while
$proxy->order('refuse');
write_some();
ok(wait_for(sub { $server->get('/readyz')->{status} == 503 }, 'not ready'), 'refused: /readyz says 503');
like($server->status('message'), qr/\w/, 'refused: status() says: ' . $server->status('message'));
is($server->get('/cdc/users/poll?since_lsn=earliest')->{status}, 200, 'refused: what there is is served');
$proxy->order('accept');
is_complete('refused for a while');

# ---- hangs: TCP is well, and nobody answers
my $start = time;
$proxy->hang;
write_some();
ok(wait_for(sub { $server->get('/readyz')->{status} == 503 }, 'not ready'), sprintf 'hangs: noticed after %.1f s', time - $start);
cmp_ok(time - $start, '<', 6, 'hangs: within some more than twice tcp_user_timeout');
like($server->log, qr/the server has been silent for \d+ s/, 'hangs: the log says so');
$proxy->wake;
is_complete('hangs and goes on');
ok($server->wait_ready, 'hangs: ready again');

# ---- silent for long, but well: nothing has to be sent
my $reconnects = $server->status('reconnects_total');
$start = time;
wait_for(sub { time - $start > 4 }, 'four seconds');    # no synchronisation: it is the time that is tested
is($server->status('reconnects_total'), $reconnects, 'an idle connection is not taken for one that hangs');

# ---- crawls: bytes come, messages take long
$proxy->order('rate 100000');
$server->sql('ALTER TABLE users ALTER filler SET STORAGE EXTERNAL');
$number++;
$server->sql("INSERT INTO users SELECT $number, repeat('x', 500000)");
write_some();
is_complete('crawls');
is($server->status('reconnects_total'), $reconnects, 'a slow connection is not taken for one that hangs');

$server->wait_for_feed;
is_deeply([map { $_->{document_id} } $server->poll_all('users')], [1 .. $number], 'polls have the same');

# ---- takes long to be made: somebody else advances the slot after the feed has looked where it is
my $cursor = $server->now_lsn;
my $looked = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender' AND state = 'idle' AND query ~ 'wal_status'};
$proxy->order('hold');
$server->sql('SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots');
wait_for(sub { $server->sql($looked) == 1 && $server->status('feed_state') eq 'preparing' }, 'the feed has looked at the slot');
write_some();
$server->sql(q{SELECT pg_replication_slot_advance('changefeed', pg_current_wal_insert_lsn())});
$proxy->order('accept');
ok(wait_for(sub { $server->log =~ /has read or advanced the slot meanwhile/ }, 'it is noticed'), 'a slot that is advanced while the feed connects');
$server->wait_ready;
is($server->get("/cdc/users/poll?since_lsn=$cursor")->{status}, 410, 'what was committed in between is said to be missing');

# ---- the address leads to another server, and only the stream's connection breaks: the one for the catalog must follow
my $other = ChangefeedTest->new(postgresql => {'changefeed.enabled' => 'off'});
$other->pg_start;
$other->sql('CREATE EXTENSION pg_changefeed; CREATE TABLE users (id int PRIMARY KEY); ALTER PUBLICATION changefeed ADD TABLE users');
$proxy->order("lead $other->{dir}/.s.PGSQL.5432");
$server->sql('SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots');
ok(wait_for(sub { $other->sql('SELECT count(*) FROM pg_replication_slots WHERE active') == 1 }, 'a slot of the other server'),
	'another server at the same address: it is streamed from');
like($server->log, qr/the two connections lead to different servers/, 'another server: the log says why it was connected to again');
$server->wait_ready;
$other->sql('INSERT INTO users VALUES (-1)');
ok(wait_for(sub { my $changes = $server->poll('/cdc/users/poll')->{changes}; @$changes && $changes->[0]{document_id} eq '-1' }, 'its change'),
	'another server: its changes are served');
$server->never_restarted;

done_testing();
