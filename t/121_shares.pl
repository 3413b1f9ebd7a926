# One client does not take what is everybody's: not the memory, by answers and large rows over TLS that it does not read; not the
# polls, by those of one connection over HTTP/2; not the time, by large rows in different forms or by pages that are compressed.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use IO::Socket::INET;
use IPC::Open2;
use Test::More;
use Time::HiRes qw(time);

use constant CLIENTS => 30;

my %packed = (headers => {Accept => 'application/msgpack'});
my $server = ChangefeedTest->new(h2o => {'num-threads' => 1, compress => ['gzip']}, postgresql => {'changefeed.ring_size' => '64MB'});
my $tls_port = $server->listen_tls('localhost');
$server->begin;
$server->publish('users', 'id int PRIMARY KEY, filler text');
$server->sql(q{INSERT INTO users SELECT i, repeat('x', 1000) FROM generate_series(1, 9000) i});
$server->wait_for_feed;
my ($worker) = @{$server->processes->{workers}};

# An openssl that has asked for a path over TLS and HTTP/1.1: its pid, and where its answer can be read.
sub ask_over_tls
{
	my ($path) = @_;
	my $pid = open2(my $from, my $to, "exec openssl s_client -quiet -connect 127.0.0.1:$tls_port 2>$server->{dir}/openssl") or die "openssl: $!";
	print $to "GET $path HTTP/1.1\r\nHost: localhost\r\n\r\n";
	$to->flush;
	return {pid => $pid, from => $from, to => $to};
}

sub end
{
	my (@clients) = @_;
	kill('KILL', map { $_->{pid} } @clients);
	waitpid($_->{pid}, 0) for @clients;
	return;
}

# Waits until $count polls more than $before have begun, and then until no more of them are answered.
sub wait_for_answers
{
	my ($before, $count) = @_;
	wait_for(sub { $server->metric('polls_total') >= $before + $count }, "$count polls");
	my ($last, $same) = (-1, 0);
	return wait_for(sub { my $now = $server->metric('events_total'); $same = $now == $last ? $same + 1 : 0; $last = $now; $same > 20 }, 'all are answered');
}

# ---- TLS over HTTP/1.1: libh2o encrypts an answer at once, for each client
is($server->poll('/cdc/users/poll?limit=10000')->{has_more} ? 1 : 0, 1, 'an answer that is as large as can be');
my $before_kb = ChangefeedTest::anonymous_kb($worker);
my $before = $server->metric('polls_total');
my @clients = map { ask_over_tls('/cdc/users/poll?limit=10000') } 1 .. CLIENTS;
wait_for_answers($before, CLIENTS);
my $grown_mb = (ChangefeedTest::anonymous_kb($worker) - $before_kb) / 1024;
cmp_ok($grown_mb, '<', 128, sprintf('%d clients over TLS that take nothing make the worker hold %.0f MB', CLIENTS, $grown_mb));
end(@clients);

# ---- a hundred polls of one connection over HTTP/2 that takes nothing, each for something else
$before_kb = ChangefeedTest::anonymous_kb($worker);
$before = $server->metric('polls_total');
$server->client_start('h2_abuser', '--port', $server->{http_port}, qw(--attack crowd --window 0 --seconds 60 --path), '/cdc/users/poll?limit=6#');
wait_for_answers($before, 80);
$grown_mb = (ChangefeedTest::anonymous_kb($worker) - $before_kb) / 1024;
cmp_ok($grown_mb, '<', 128, sprintf('one connection makes the worker hold %.0f MB', $grown_mb));
my $other = $server->poll('/cdc/users/poll?limit=5000');
is($other->{count}, 5000, 'the polls of others are answered, and as large as before');

# ---- the collections, when there are many, for all who ask at the same time
$server->sql(q{DO $$ BEGIN FOR i IN 1..1000 LOOP
	EXECUTE format('CREATE TABLE table_number_%s (id int); ALTER PUBLICATION changefeed ADD TABLE table_number_%s', i, i); END LOOP; END $$});
wait_for(sub { $server->metric('collections') > 1000 }, 'a thousand collections');
cmp_ok(length $server->get('/cdc')->{content}, '>', 80_000, 'a thousand collections are a long list');
$before_kb = ChangefeedTest::anonymous_kb($worker);
$before = $server->metric('requests_total');
$server->client_start('h2_abuser', '--port', $server->{http_port}, qw(--attack crowd --connections 8 --window 0 --seconds 60 --path /cdc));
wait_for(sub { $server->metric('requests_total') >= $before + 800 }, 'all have asked');
$grown_mb = (ChangefeedTest::anonymous_kb($worker) - $before_kb) / 1024;
cmp_ok($grown_mb, '<', 16, sprintf('800 requests for it that take nothing make the worker hold %.0f MB', $grown_mb));

# ---- a large row for streams that want it in different forms: it is rendered for one after the other
my @streams = map { $server->stream("/cdc/users?columns=filler,c$_", json => 0) } 1 .. 8;
$_->block for @streams;
$server->sql(q{INSERT INTO users VALUES (100001, repeat('y', 6000000)); INSERT INTO users VALUES (100002, 'after')});
is(join(' ', map { length($_->event->{data}) > 6_000_000 ? 1 : 0 } @streams), '1 1 1 1 1 1 1 1', 'a large row reaches each of eight streams that differ');
is(join(' ', map { $_->event->{data} =~ /"after"/ ? 1 : 0 } @streams), '1 1 1 1 1 1 1 1', 'and so does what follows');

# ---- the same over TLS, where each client's is encrypted by itself, for clients that do not take it
$before = $server->metric('streams');
@clients = map { ask_over_tls('/cdc/users') } 1 .. CLIENTS;
wait_for(sub { $server->metric('streams') == $before + CLIENTS }, CLIENTS . ' streams over TLS');
$before_kb = ChangefeedTest::anonymous_kb($worker);
$server->sql(q{INSERT INTO users SELECT 100003, string_agg(i::text, ',') FROM generate_series(1, 900000) i});
$streams[0]->event;
$grown_mb = (ChangefeedTest::anonymous_kb($worker) - $before_kb) / 1024;
cmp_ok($grown_mb, '<', 64, sprintf('a row of 6 MB for %d streams over TLS that take nothing makes the worker hold %.0f MB', CLIENTS, $grown_mb));
my $row = join(',', 1 .. 900_000);
my $whole = 0;
for my $from (map { $_->{from} } @clients)
{
	my $got = '';
	until (length $got > length $row && substr($got, -2) eq "\n\n")
	{
		sysread($from, $got, 1 << 20, length $got) or last;
	}
	$whole++ if index($got, qq{"$row"}) > 0;
}
is($whole, CLIENTS, 'and is whole for all of them, who take it at last');
end(@clients);

# ---- what takes long is done bit by bit, and others have their turn in between
sub connect_to { return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $_[0]) // die "connect: $!"; }

# Another client asks again and again while a process does something; returns how often it had to wait for its answer, if only for
# half a millisecond: that is once in each turn of the worker at the most.
sub turns_during
{
	my ($work) = @_;
	my $pid = fork // die "fork: $!";
	POSIX::_exit($work->() ? 0 : 1) if $pid == 0;
	push @{$server->{clients}}, $pid;
	my ($other, $count) = (connect_to($server->{http_port}), 0);
	while (waitpid($pid, POSIX::WNOHANG()) == 0)
	{
		my ($asked, $bytes) = (time, '');
		syswrite($other, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
		1 while $bytes !~ /alive/ && sysread($other, $bytes, 65536, length $bytes);
		$count++ if time - $asked > 0.0005;
	}
	is($?, 0, 'it is done');
	return $count;
}

# 400,000 numbers, each of which is looked at
$server->publish('vectors', 'id int PRIMARY KEY, vector jsonb');
$server->sql('INSERT INTO vectors SELECT i, (SELECT jsonb_agg(random() * i + g) FROM generate_series(1, 1000) g) FROM generate_series(1, 400) i');
$server->wait_for_feed;
my $turns = turns_during(sub { length $server->get('/cdc/vectors/poll?limit=400', %packed)->{content} > 3_000_000 });
cmp_ok($turns, '>', 30, "while numbers of JSON become MessagePack, others have to wait for $turns turns");

# What a client says first over TLS: the answer to it has to be signed.
my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1) or die "listen: $!";
my $openssl = $server->background('openssl', 'openssl', 's_client', '-connect', '127.0.0.1:' . $listener->sockport);
sysread($listener->accept, my $hello, 65536) or die "no ClientHello: $!";
kill('KILL', $openssl);
waitpid($openssl, 0);
my $count = 300;
$turns = turns_during(sub {
	my @shaking = map { my $socket = connect_to($tls_port); syswrite($socket, $hello); $socket } 1 .. $count;
	return $count == grep { sysread($_, my $answer, 65536) } @shaking;
});
cmp_ok($turns, '>', 40, "while $count clients begin with TLS at once, others have to wait for $turns turns");

# ---- what hundreds ask for in one go is not compressed for each of them
my $encoding = sub { $server->get($_[0], headers => {'Accept-Encoding' => 'gzip'})->{headers}{'content-encoding'} // 'none' };
is($encoding->('/cdc/users/poll'), 'gzip', 'the answer of a poll is compressed');
is(join(' ', map { $encoding->($_) } qw(/ /metrics /cdc)), 'none none none', 'pages are not');

done_testing();
