# Slow, stalled and vanished clients: they delay nobody, hold little memory and no WAL, and are noticed.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use Test::More;
use Time::HiRes qw(time);

my %paths = (
	'/cdc' => {changefeed => {heartbeat => 1, 'stall-timeout' => 2}},
	'/seldom' => {changefeed => {heartbeat => 15}},
	'/hasty' => {changefeed => {'stall-timeout' => 1}},
	'/files' => {'file.dir' => "$Bin/..", 'file.dirlisting' => 'ON'},
);
my $server = ChangefeedTest->new(h2o => {'num-threads' => 1, hosts => {default => {paths => \%paths}}});
my $tls_port = $server->listen_tls('localhost');
$server->begin;
$server->publish('users', 'id int PRIMARY KEY, filler text');

# One that asks for a list of files, the length of which nobody knows, and does not take it.
my $lister = $server->client_start('h2_abuser', '--port', $server->{http_port}, qw(--attack nothing --path /files/ --window 0 --seconds 300));

my $fast = $server->stream('/cdc/users', json => 0);
my @stalled = map { $server->stream('/cdc/users') } 1 .. 20;
# Two connections over HTTP/2, one of them with TLS, each with 100 streams and a wide window, that are not read either.
$server->client_start('h2_abuser', @$_, qw(--attack crowd --path /cdc/users --window 100000000 --deaf --seconds 120))
  for ['--port', $server->{http_port}], ['--port', $tls_port, '--tls'];
ok(wait_for(sub { $server->metric('streams') == 221 }, '221 streams'), '220 streams of clients that stop to read');
my $pids = $server->processes;
is(scalar @{$pids->{workers}}, 1, 'one worker for all');
my ($worker) = @{$pids->{workers}};
my $before_kb = ChangefeedTest::anonymous_kb($worker);

# What the kernel holds for the connection that has the most waiting in it, in bytes.
sub most_queued
{
	my $ports = join('|', map { sprintf '%04X', $_ } $server->{http_port}, $tls_port);
	my $most = 0;
	for my $queued (map { hex } slurp('/proc/net/tcp') =~ /^ *\d+: 0100007F:(?:$ports) \S+ 01 ([0-9A-F]+):/mg)
	{
		$most = $queued if $queued > $most;
	}
	return $most;
}

# 64 MB of changes in transactions of 1 MB, through a ring of 16 MB: no stalled client can have it all.
my $rounds = 64;
my $session = $server->session;
my ($id, $lost, $slowest, $queued) = (0, 0, 0, 0);
for my $round (1 .. $rounds)
{
	my $first = $id + 1;
	$id += 1000;
	my $start = time;
	$session->query("INSERT INTO users SELECT i, repeat('x', 1000) FROM generate_series($first, $id) i");
	my @events = $fast->events_until(sub { $_[0]{data} =~ /^[^{]*\{"collection":"users","operation":"INSERT","document_id":"$id"/ });
	$lost += 1000 - @events;
	my $took = time - $start;
	$slowest = $took if $took > $slowest;
	my $most = most_queued();
	$queued = $most if $most > $queued;
}
is($lost, 0, 'a client that reads has every change beside 220 that do not');
cmp_ok($slowest, '<', 5, sprintf('the slowest MB took %.2f s from INSERT to client', $slowest));
my $grown_mb = (ChangefeedTest::anonymous_kb($worker) - $before_kb) / 1024;
cmp_ok($grown_mb, '<', 64, sprintf('the worker holds %.1f MB more', $grown_mb));

cmp_ok($queued, '>', 0, 'clients that do not read make the kernel hold something');
cmp_ok($queued, '<', 256 << 10, sprintf('the kernel holds %d kB for the one that has the most', $queued / 1024));

# The slot is confirmed although 20 clients have not taken their changes.
ok($server->wait_confirmed, 'a stalled client holds no WAL back');

# Stalled clients are cut off; the kernel tells them once they read what was sent before.
ok(wait_for(sub { $server->metric('streams') == 1 }, 'one stream is left'), 'stalled clients are cut off after stall-timeout');
ok($stalled[0]->wait_for_end, 'the connection of a stalled client has ended');
my $resumed = $server->stream('/cdc/users', headers => {'Last-Event-ID' => $fast->{last_id}});
$session->query('INSERT INTO users VALUES (0)');
is($resumed->event->{json}{document_id}, '0', 'and clients can come back');
$fast->event;

# A client that goes away is freed at once, not by a keep-alive that finds nobody: the first one is due after 15 s.
$resumed->close;
$resumed = $server->stream('/seldom/users');
ok(wait_for(sub { $server->metric('streams') == 2 }, 'two streams'), 'a client whose next keep-alive is far');
$resumed->close;
my $gone = time;
ok(wait_for(sub { $server->metric('streams') == 1 }, 'the stream is gone'), 'a client that closes is noticed');
cmp_ok(time - $gone, '<', 5, sprintf('after %.2f s', time - $gone));

# One that takes the rest of what it is being sent and says goodbye in the same moment.
my $leaving = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $server->{http_port}) or die "connect: $!";
print $leaving "GET /seldom/users?since_lsn=earliest HTTP/1.1\r\nHost: localhost\r\n\r\n";
my $before = -1;
ok(wait_for(sub { my $now = most_queued(); my $full = $now > 0 && $now == $before; $before = $now; return $full; }, 'its socket takes no more'),
	'a send is under way to a client that does not read');
kill('STOP', $worker);
ok(wait_for(sub { $leaving->blocking(0); 1 while $leaving->sysread(my $bytes, 1 << 20); return most_queued() == 0; }, 'it has all that was sent'),
	'it reads what was sent');
shutdown($leaving, 1);
kill('CONT', $worker);
ok(wait_for(sub { $server->metric('streams') == 1 }, 'its stream is gone'), 'and is freed when it leaves while its last write completes');

# A client that reads, but needs longer for one row than stall-timeout: it is not stalled.
my $steady = $server->stream('/cdc/users', json => 0, deadline => 60);
my $size = 3_500_000;
$session->query("INSERT INTO users VALUES (-1, repeat('x', $size))");
my ($got, $began) = (0, time);
wait_for(
	sub {
		my $read = $steady->{socket}->sysread(my $bytes, 8192);
		$got += $read // 0;
		return !$read || $got > $size;
	},
	'it has read the row',
	60
);
cmp_ok($got, '>', $size, sprintf('a client that reads 400 kB a second has a row of 3.5 MB after %.1f s', time - $began));

# Over HTTP/2 responses share a connection, and each waits for all of them: 30 of 34 kB take a client that reads 128 kB a second
# seven seconds, and stall-timeout, with a second for each 16 kB, is three.
$server->publish('few', 'id int PRIMARY KEY, filler text');
$session->query("INSERT INTO few SELECT i, repeat('x', 1000) FROM generate_series(1, 30) i");
$server->wait_for_feed;

sub crowd
{
	my ($path, @arguments) = @_;
	my $crowd = $server->client_start('h2_abuser', '--port', $server->{http_port}, '--path', $path,
		qw(--attack crowd --requests 30 --window 1000000 --seconds 25), @arguments);
	$server->client_result($crowd);
	return $server->client_output('h2_abuser');
}
like(crowd('/hasty/few/poll', '--rate', 128 << 10), qr/finished=30 cut=0$/,
	'over HTTP/2 a client that asks for 30 answers at once and reads slowly gets them all');
like(crowd('/hasty/few?since_lsn=earliest', '--rate', 128 << 10, '--enough', 950_000), qr/received=9\d{5} finished=0 cut=0$/,
	'and so does one with 30 streams');
# (The first answer fits into the 64 kB that HTTP/2 begins with, if the server sees its request before the others.)
like(crowd('/hasty/few/poll', '--rate', 1000), qr/finished=[01] cut=1$/, 'one that reads 1 kB a second does not get the answers');
like(crowd('/hasty/few?since_lsn=earliest', '--rate', 1000), qr/finished=0 cut=1$/, 'nor the streams');

is($server->client_result($lister), 0, 'one that does not take a list of files is cut off after stall-timeout');

done_testing();
