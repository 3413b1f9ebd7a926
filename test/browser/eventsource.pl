# A browser: Chromium's EventSource follows a collection while the workers that serve it are killed, PostgreSQL restarts
# and the browser sleeps. It reconnects by itself with its last id, over HTTP/1.1 and over HTTP/2 with TLS, and misses or
# repeats nothing.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../perl";
use ChangefeedTest;
use ChangefeedTest::Browser;
use Test::More;

ChangefeedTest::Browser::needed();
my $server = ChangefeedTest->new(changefeed => {heartbeat => 1, retry => 100});
my $tls_port = $server->listen_tls('localhost');
$server->{h2o}{hosts}{default}{paths}{'/test'} = {'file.dir' => $Bin};
$server->begin;
$server->publish('users', 'id text PRIMARY KEY, name text');
my $browser = ChangefeedTest::Browser->start($server->{dir});

sub seen { return $browser->script('return seen'); }

my $row = 0;
for my $origin ("http://127.0.0.1:$server->{http_port}", "https://localhost:$tls_port")
{
	my ($scheme) = $origin =~ /^(\w+)/;
	$browser->open("$origin/test/follow.html#users");
	ok(wait_for(sub { seen()->{opens} >= 1 }, 'EventSource is open'), "$scheme: EventSource is open");
	my $protocol = $browser->script('return performance.getEntriesByType("navigation")[0].nextHopProtocol');
	is($protocol, $scheme eq 'https' ? 'h2' : 'http/1.1', "$scheme: $protocol");

	my @written;
	my $write = sub
	{
		my ($count) = @_;
		my @ids = map { 'r' . ++$row } 1 .. $count;
		push @written, @ids;
		$server->sql(join('', map { "INSERT INTO users VALUES ('$_', 'x');\n" } @ids));
	};
	# A writer that does not pause while the workers are killed, each of them once, so the browser's among them.
	my $session_sql = $server->session;
	$write->(20);
	for my $victim (@{$server->processes->{workers}})
	{
		my @ids = map { 'r' . ++$row } 1 .. 200;
		push @written, @ids;
		$session_sql->send(join(";\n", map { "INSERT INTO users VALUES ('$_', 'x')" } @ids));
		kill('KILL', $victim) or die "kill: $!";
		$session_sql->finish;
		$write->(20);
		wait_for(sub { scalar(@{seen()->{documents}}) >= @written }, "$scheme: " . @written . ' changes after a worker was killed');
	}
	# PostgreSQL restarts, and all that belongs to it.
	$server->pg_stop;
	$server->pg_start;
	$server->wait_ready;
	$write->(20);
	wait_for(sub { scalar(@{seen()->{documents}}) >= @written }, "$scheme: " . @written . ' changes after a restart of PostgreSQL');

	# The browser sleeps, as a laptop does whose lid is shut; its connection is gone when it wakes.
	my @asleep = $browser->processes;
	kill('STOP', @asleep) == @asleep or die "kill: $!";
	kill('KILL', @{$server->processes->{workers}});
	$server->wait_ready;
	$write->(20);
	kill('CONT', @asleep);
	wait_for(sub { scalar(@{seen()->{documents}}) >= @written }, "$scheme: " . @written . ' changes after a sleep');
	my $seen = seen();
	is_deeply($seen->{documents}, \@written, "$scheme: every change fired once and in order");
	is_deeply($seen->{others}, [], "$scheme: no warning, no reset, no nameless message");
	cmp_ok($seen->{opens}, '>=', 4, "$scheme: EventSource had to reconnect");
	my %twice;
	ok(!(grep { $twice{$_}++ } @{$seen->{ids}}), "$scheme: lastEventId is the change's id, each once");
}

$browser->quit;
done_testing();
