# Hostile clients: floods, too many connections, too many requests, clients that trickle. Each is bounded, and those
# who behave go on. Clients differ by their loopback addresses.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use Socket qw(SOL_SOCKET SO_LINGER);
use Test::More;
use Time::HiRes qw(time);

use constant {PER_ADDRESS => 20, TOLD_WHY => 16, CONNECTS => $ENV{CHANGEFEED_CONNECTS} // 5000};

my $server = ChangefeedTest->new(
	extension => 0,
	changefeed => {heartbeat => 1, 'stall-timeout' => 2},
	h2o => {'max-connections-per-address' => PER_ADDRESS, 'http1-request-timeout' => 2},
);
my $tls_port = $server->listen_tls('localhost');
$server->write_h2o_conf;
$server->pg_start;
$server->sql('CREATE TABLE users (id int PRIMARY KEY); CREATE PUBLICATION changefeed FOR TABLE users');

my $master = $server->background('program', "$server->{bindir}/pg_changefeed", '--dbname', 'postgres', '--host', $server->{dir},
	'--username', 'postgres', '--config', $server->{config_file}, '--ring-file', "$server->{dir}/ring", '--ring-size', '8MB');
$server->wait_ready or diag($server->client_output('program'));

# ---- clients with an address of their own

sub connect_from
{
	my ($address) = @_;
	return IO::Socket::INET->new(LocalAddr => $address, PeerAddr => '127.0.0.1', PeerPort => $server->{http_port}) // die "connect: $!";
}

# Whatever comes until the connection ends, or $is_enough->($bytes); undef after the deadline.
sub read_until
{
	my ($socket, $is_enough) = @_;
	my $select = IO::Select->new($socket);
	my ($bytes, $deadline) = ('', time + ChangefeedTest::DEADLINE);
	until ($is_enough->($bytes))
	{
		return if !$select->can_read($deadline - time);
		sysread($socket, $bytes, 65536, length $bytes) or last;
	}
	return $bytes;
}

# The next response of a connection that stays: {status, headers, json}; {} if it ends without one.
sub ask
{
	my ($socket, $path) = @_;
	syswrite($socket, "GET $path HTTP/1.1\r\nHost: localhost\r\n\r\n");
	my $bytes = read_until($socket, sub { $_[0] =~ /^content-length: (\d+)\r\n.*?\r\n\r\n(.*)/msi && length $2 >= $1 }) // '';
	my ($head, $body) = split /\r\n\r\n/, $bytes, 2;
	return {} if !defined $head || $head !~ m{^HTTP/1\.1 (\d+)};
	return {status => $1, headers => {map { /^([^:]+): (.*)$/ ? (lc $1 => $2) : () } split(/\r\n/, $head)}, json => scalar(eval { decode_json($body) })};
}

sub stream_from { return ChangefeedTest::Stream->new(socket => connect_from($_[0]), port => $server->{http_port},
	path => '/cdc/users', deadline => ChangefeedTest::DEADLINE); }

# The master's children that hold a socket which listens on our port.
sub workers
{
	my $port = sprintf('%04X', $server->{http_port});
	my %listens = map { "socket:[" . (split)[9] . "]" => 1 } grep { /:$port 00000000:0000 0A/ } split(/\n/, slurp('/proc/net/tcp'));
	my %parent = ChangefeedTest::process_parents();
	return sort { $a <=> $b } grep { my $pid = $_; $parent{$pid} == $master && grep { $listens{readlink($_) // ''} } glob("/proc/$pid/fd/*") } keys %parent;
}

sub abuse
{
	my ($attack, @arguments) = @_;
	return $server->client_start('h2_abuser', '--port', $server->{http_port}, '--attack', $attack, '--address', '127.0.0.2', @arguments);
}

# Asks as one who behaves until a client ends; returns how long each answer took, in ms, sorted.
sub witness_until_end
{
	my ($pid) = @_;
	my $witness = connect_from('127.0.0.1');
	my @latencies;
	do
	{
		my $start = time;
		(ask($witness, '/healthz')->{status} // 0) == 200 or fail('a witness is answered');
		push @latencies, 1000 * (time - $start);
	} while (waitpid($pid, POSIX::WNOHANG()) == 0);
	return sort { $a <=> $b } @latencies;
}

# ---- floods over HTTP/2: cut off, and others do not feel them
my @workers = workers();
is(scalar @workers, 2, 'two workers');
my $honest = $server->stream('/cdc/users');
for my $transport ('cleartext', 'TLS')
{
	# over TLS against streams of events
	my @to = $transport eq 'TLS' ? ('--port', $tls_port, '--tls', '--path', '/cdc/users') : ();
	for my $attack (qw(resets pings settings windows priorities continuations bodies unknown requests))
	{
		my $what = "$attack over $transport";
		my $floods = $server->metric('floods_total');
		my @latencies = witness_until_end(abuse($attack, @to, '--connections', 4, '--seconds', 20));
		my ($median, $p99) = @latencies[@latencies * 0.5, @latencies * 0.99];
	  SKIP:
		{
			skip "$attack: a sanitized worker is too slow for a flood", 3 if $ENV{CHANGEFEED_SANITIZED} && $attack eq 'requests';
			cmp_ok($median, '<', 10, sprintf('%s: of %d others half wait %.1f ms, 99 %% %.1f, all %.1f',
				$what, scalar @latencies, $median, $p99, $latencies[-1]));
			like($server->client_output('h2_abuser'), qr/cut=4$/, "$what: every connection is cut off");
			is($server->metric('floods_total'), $floods + 4, "$what: counted");
		}
	}
}

is(() = $server->client_output('program') =~ /skipping frame/g, 0, 'frames of an unknown type write nothing to the log');

# ---- over HTTP/1.1: connections with as many requests on their way as fit; they read the answers, so it is no flood
sub pipeline
{
	my ($path, $count, $seconds) = @_;
	my $pid = fork // die "fork: $!";
	push @{$server->{clients}}, $pid;
	return $pid if $pid != 0;
	my @sockets = map { connect_from('127.0.0.2') } 1 .. $count;
	$_->blocking(0) for @sockets;
	my $requests = "GET $path HTTP/1.1\r\nHost: x\r\n\r\n" x 1000;
	my ($all, $end, %sent) = (IO::Select->new(@sockets), time + $seconds);
	while (time < $end)
	{
		my ($readable, $writable) = IO::Select->select($all, $all, undef, 0.1) or next;
		sysread($_, my $bytes, 1 << 20) for @$readable;
		$sent{$_} = (($sent{$_} // 0) + (syswrite($_, $requests, length $requests, $sent{$_} // 0) // 0)) % length $requests for @$writable;
	}
	POSIX::_exit(0);
}
for my $path (qw(/metrics /healthz /cdc))
{
	my @latencies = witness_until_end(pipeline($path, PER_ADDRESS, 3));
	my $median = $latencies[@latencies / 2];
	cmp_ok($median, '<', 10, sprintf('%d connections pipeline %s: of %d others half wait %.1f ms, all %.1f',
		PER_ADDRESS, $path, scalar @latencies, $median, $latencies[-1]));
}

# Answers that use up their window, stuck in TCP, and then WINDOW_UPDATE: an assertion of libh2o 2.2.5.
# src/http/h2_guard.c keeps it away, unless the library was linked to bind its own functions, as Ubuntu's may be; then the worker
# is replaced.
my ($library) = (run_command('ldd', "$server->{bindir}/pg_changefeed"))[1] =~ /libh2o-evloop\S* => (\S+)/;
my $is_guarded = (run_command('readelf', '--relocs', '--wide', $library))[1] =~ /JUMP_SLOT.*\bh2o_http2_stream_reset\b/;
SKIP: for my $to ([], ['--port', $tls_port, '--tls'])
{
	skip "$library binds its own functions", 1 if !$is_guarded;
	$server->client_result(abuse('late-windows', @$to, '--connections', 4, '--window', length("alive\n"), '--deaf', '--seconds', 20));
	is_deeply([workers()], \@workers, 'WINDOW_UPDATE for streams that have ended aborts no worker' . (@$to ? ', over TLS' : ''));
}
$server->sql('INSERT INTO users VALUES (1)');
is($honest->event->{json}{document_id}, '1', 'and the stream of before is still there');

# 1,000 streams on 10 connections get every change, and others do not feel them.
my $crowd = abuse('crowd', '--path', '/cdc/users', '--connections', 10, '--window', 1 << 20, '--seconds', 3);
ok(wait_for(sub { $server->metric('streams') == 1001 }, '1,000 more streams'), '10 connections of 100 streams');
my $delivered = $server->metric('events_total');
$server->sql('INSERT INTO users SELECT generate_series(1001, 1100)');
my @latencies = witness_until_end($crowd);
cmp_ok($latencies[@latencies / 2], '<', 10, sprintf('others wait %.1f ms, at most %.1f', $latencies[@latencies / 2], $latencies[-1]));
is($server->metric('events_total'), $delivered + 100 * 1001, 'each stream was sent each change');
is(scalar($honest->events(100)), 100, 'one that reads has them');
ok(wait_for(sub { $server->metric('streams') == 1 }, 'the streams are gone'), 'and nothing is left of them');

# The same with windows that stay shut: all are cut off, and hold little meanwhile.
my $kb = ChangefeedTest::anonymous_kb(@workers);
$crowd = abuse('crowd', '--path', '/cdc/users', '--connections', 10, '--window', 0, '--seconds', 20);
ok(wait_for(sub { $server->metric('streams') == 1001 }, '1,000 streams that take nothing'), '1,000 streams that take nothing');
$server->sql(q{INSERT INTO users SELECT generate_series(2001, 12000)});
$honest->events(10_000);
my $held_kb = ChangefeedTest::anonymous_kb(@workers) - $kb;
cmp_ok($held_kb, '<', 32 * 1024, "1,000 of them make the workers hold $held_kb kB");
witness_until_end($crowd);
like($server->client_output('h2_abuser'), qr/cut=10$/, 'they are cut off');

# Whatever is asked for while its window stays shut is reaped, and the connection with it.
for my $path (qw(/cdc/users /cdc/users/poll /cdc /cdc/nosuch))
{
	my $reaped = $server->metric('reaped_total');
	$server->client_result(abuse('nothing', '--path', $path, '--window', 0, '--seconds', 20));
	like($server->client_output('h2_abuser'), qr/cut=1$/, "$path: a client that takes nothing is cut off after stall-timeout");
	is($server->metric('reaped_total'), $reaped + 1, "$path: and counted");
}

# ---- HTTP/1.1: heads that never end
my $trickle = connect_from('127.0.0.1');
my $select = IO::Select->new($trickle);
syswrite($trickle, "GET /healthz HTTP/1.1\r\nX: ");
ok(wait_for(sub { $select->can_read(0) ? !sysread($trickle, my $byte, 1) : !syswrite($trickle, 'x') }, 'the end of a connection that trickles'),
	'a byte now and then does not keep a connection open');
my $long = connect_from('127.0.0.1');
syswrite($long, "GET /healthz HTTP/1.1\r\nX: " . 'x' x 100_000);
unlike(read_until($long, sub { 0 }) // 'open', qr/^HTTP\S* 2|^open/, 'a head of 100 kB is refused');
my $many = connect_from('127.0.0.1');
syswrite($many, "GET /healthz HTTP/1.1\r\n" . join('', map { "X-$_: x\r\n" } 1 .. 200) . "\r\n");
like(read_until($many, sub { 0 }) // 'open', qr/^HTTP\S* 400/, 'so are 200 headers');

# ---- connections that come and go
my ($first_worker) = @workers;
my $reset_on_close = pack('ii', 1, 0);
my $descriptors = sub { return scalar(map { glob("/proc/$_/fd/*") } @workers) };
my $connections = $server->metric('connections');
my ($descriptors_before, $kb_before) = ($descriptors->(), ChangefeedTest::anonymous_kb($first_worker));
for my $i (1 .. CONNECTS)
{
	my $socket = connect_from('127.0.1.' . (1 + $i % 200)); # each has ports of its own
	setsockopt($socket, SOL_SOCKET, SO_LINGER, $reset_on_close) if $i % 2;
	syswrite($socket, "GET /cdc/users HTTP/1.1\r\nHost: x\r\n\r\n") if $i % 3 == 0;
}
ok(wait_for(sub { $server->metric('connections') == $connections }, 'as many connections as before'), CONNECTS . ' connections leave none behind');
ok(wait_for(sub { $descriptors->() <= $descriptors_before }, 'as many descriptors as before'), 'nor descriptors');
my $grown_kb = ChangefeedTest::anonymous_kb($first_worker) - $kb_before;
cmp_ok($grown_kb, '<', 4096, "nor memory: a worker holds $grown_kb kB more");

# ---- max-connections-per-address, counted over both workers
my @held = map { stream_from('127.0.0.3') } 1 .. PER_ADDRESS;
is(scalar(grep { $_->{status} == 200 } @held), PER_ADDRESS, PER_ADDRESS . ' connections of an address');
my $refused = $server->metric('refused_total');
my $answer = ask(connect_from('127.0.0.3'), '/healthz');
is($answer->{status}, 429, 'one more is refused');
is($answer->{headers}{connection}, 'close', 'with Connection: close');
like($answer->{headers}{'retry-after'}, qr/^\d+$/, 'and Retry-After');
is($answer->{headers}{'content-type'}, 'application/problem+json', 'and a problem document');
like($answer->{json}{detail}, qr/more connections than the 20 allowed/, 'that says why');
is($server->metric('refused_total'), $refused + 1, 'and is counted');
is(ask(connect_from('127.0.0.4'), '/healthz')->{status}, 200, 'another address is not concerned');
my @idle = map { connect_from('127.0.0.3') } 1 .. TOLD_WHY;
is(read_until($idle[0], sub { 0 }), '', 'one that asks nothing is closed');
# both workers have to have seen the others first, which are let go after two seconds
my $unanswered = sub {
	my $before = $server->metric('refused_total');
	@idle = map { connect_from('127.0.0.3') } 1 .. 2 * TOLD_WHY;
	return wait_for(sub { $server->metric('refused_total') >= $before + 2 * TOLD_WHY }) && !%{ask(connect_from('127.0.0.3'), '/healthz')};
};
ok(wait_for($unanswered, 'no answer'), 'far over the limit there is not even an answer');
@idle = ();
(shift @held)->close;
ok(wait_for(sub { ask(connect_from('127.0.0.3'), '/healthz')->{status} == 200 }, 'room for another one'), 'a connection that is closed makes room');

# ---- a worker that is killed leaves nothing behind, and takes nobody else along
# Some of 30 new connections wait at the dead worker's socket. Returns how long, in ms, until all are answered.
sub replaced_after
{
	my ($victim) = @_;
	kill('ABRT', $victim) or die "kill: $!";
	my $start = time;
	my @sockets = map { connect_from('127.0.0.' . (20 + $_ % 2)) } 1 .. 30;
	syswrite($_, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n") for @sockets;
	is(scalar(grep { (read_until($_, sub { $_[0] =~ /alive/ }) // '') =~ /alive/ } @sockets), 30, 'a worker that is aborted is replaced by one that answers');
	return 1000 * (time - $start);
}
my @took = replaced_after($first_worker);
is(scalar(grep { $_ != $first_worker } workers()), 2, 'there are two again');
$server->sql('INSERT INTO users VALUES (2)');
my @alive = grep { my $event = $_->event; $event && $event->{json}{document_id} eq '2' } @held;
cmp_ok(scalar @alive, '>', 0, 'streams of the other worker go on');
is(scalar(grep { $_->{ended} } @held), @held - @alive, 'the others have ended');
push @alive, map { stream_from('127.0.0.3') } scalar(@alive) + 1 .. PER_ADDRESS;
is(scalar(grep { $_->{status} == 200 } @alive), PER_ADDRESS, 'what it held is not counted any more');
is(ask(connect_from('127.0.0.3'), '/healthz')->{status}, 429, 'and what others hold is');
$_->close for @alive;
push @took, replaced_after($workers[1]);
my ($best) = sort { $a <=> $b } @took;
# 20 ms where nothing else runs
cmp_ok($best, '<', $ENV{CHANGEFEED_SANITIZED} ? 1500 : 300, sprintf('which takes %.0f and %.0f ms', @took));

# ---- clients that do not read the answer to a poll, and behind it ask for HTTP/2: of many sizes of an answer some leave no
# room for the 101 in the socket, and such a connection is neither the one nor the other when its worker is told to end
my @upgrading = map { connect_from('127.0.2.' . (1 + $_ % 20)) } 1 .. ($is_guarded ? 15 * PER_ADDRESS : 0);
my $polls = $server->metric('polls_total');
for my $i (0 .. $#upgrading)
{
	syswrite($upgrading[$i], sprintf("GET /cdc/users/poll?since_lsn=earliest&limit=%d HTTP/1.1\r\nHost: x\r\n\r\n", 20 + 5 * $i)
		  . "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n");
}
ok(wait_for(sub { $server->metric('polls_total') == $polls + @upgrading }, 'their polls'),
	scalar(@upgrading) . ' clients that change to HTTP/2 and read nothing');
my @lasting = map { stream_from('127.0.0.6') } 1 .. 8;

# ---- after a reload: max-requests-per-second, and max-connections
my $path = $server->{h2o}{hosts}{default}{paths}{'/cdc'};
$path->{'header.set'} = 'X-Generation: 2';
@{$server->{h2o}}{qw(num-threads max-connections max-requests-per-second)} = (1, 8, 10);
$server->write_h2o_conf;
kill('HUP', $master);
ok(wait_for(sub { (ask(connect_from('127.0.0.7'), '/cdc')->{headers}{'x-generation'} // '') eq '2' }, 'the new h2o.conf is in force'), 'reload');
$server->sql('INSERT INTO users VALUES (3)');
is(scalar(grep { my $event = $_->event; $event && $event->{json}{document_id} eq '3' } @lasting), 8, 'it ends no stream, whatever other clients do');
$_->close for @lasting, @upgrading;
my $eager = connect_from('127.0.0.5');
my $begin = time;
my @statuses = map { ask($eager, '/healthz')->{status} } 1 .. 60;
my $allowed = 10 + 10 * (time - $begin);
my $passed = grep { $_ == 200 } @statuses;
ok($passed >= 10 && $passed <= $allowed + 1, sprintf('of 60 requests %d pass, %.1f may', $passed, $allowed));
is(scalar(grep { $_ == 429 } @statuses), 60 - $passed, 'the others are answered with 429');
is(ask(connect_from('127.0.0.8'), '/healthz')->{status}, 200, 'another address is not concerned');
$answer = undef;
ok(wait_for(sub { ($answer = ask($eager, '/healthz'))->{status} == 200 }, 'another token'), 'and the connection can go on later');
$eager->close;

# Streams of before have ended with their workers or are open: only the new worker counts here.
my @full = map { stream_from('127.0.0.9') } 1 .. 8;
my $late = connect_from('127.0.0.10');
syswrite($late, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
ok(!IO::Select->new($late)->can_read(0.5), 'over max-connections a connection waits');
(pop @full)->close;
like(read_until($late, sub { $_[0] =~ /alive/ }) // '', qr/^HTTP\S* 200/, 'until another one is closed');

kill('TERM', $master);
is($server->client_result($master), 0, 'it ends');

done_testing();
