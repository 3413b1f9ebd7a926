# A browser: Chromium's EventSource follows a collection while the workers that serve it are killed, PostgreSQL restarts
# and the browser sleeps. It reconnects by itself with its last id, over HTTP/1.1 and over HTTP/2 with TLS, and misses or
# repeats nothing. A page of another origin may read what h2o.conf lets it.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../perl";
use ChangefeedTest;
use ChangefeedTest::Browser;
use JSON::PP ();
use Test::More;

ChangefeedTest::Browser::needed();
my $server = ChangefeedTest->new(changefeed => {heartbeat => 1, retry => 100});
my $tls_port = $server->listen_tls('localhost');
my $other_origin = "http://localhost:$server->{http_port}";
my $paths = $server->{h2o}{hosts}{default}{paths};
$paths->{'/test'} = {'file.dir' => $Bin};
$paths->{'/others'} = {changefeed => {cors => $other_origin}};
$paths->{'/cookies'} = {changefeed => {cors => $other_origin}, 'header.set' => 'Access-Control-Allow-Credentials: true'};
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

# ---- a page of another origin, with and without its cookies
$browser->open("$other_origin/test/follow.html#users");

# The readyState of its EventSource: 1 is open, 2 closed for good.
sub followed_by_other
{
	my ($path, $cookies) = @_;
	$browser->script('window.other = new EventSource(arguments[0], { withCredentials: arguments[1] })',
		"http://127.0.0.1:$server->{http_port}$path/users", $cookies ? JSON::PP::true : JSON::PP::false);
	wait_for(sub { $browser->script('return other.readyState') }, "$path is answered");
	my $state = $browser->script('return other.readyState');
	$browser->script('other.close()');
	return $state;
}
is(followed_by_other('/cdc', 0), 2, 'another origin: refused by the browser');
is(followed_by_other('/others', 0), 1, 'with cors: open');
is(followed_by_other('/others', 1), 2, 'with its cookies: refused');
is(followed_by_other('/cookies', 1), 1, 'with cookies that are allowed: open');

$browser->quit;
done_testing();
