# A browser: Chromium's EventSource follows a collection while the workers that serve it are killed, PostgreSQL restarts
# and the browser sleeps. It reconnects by itself with its last id, over HTTP/1.1 and over HTTP/2 with TLS, and misses or
# repeats nothing. Then the console.
#
# Chromium is driven through chromedriver (https://www.w3.org/TR/webdriver2/). Without the two the test is skipped:
# Ubuntu has Chromium as a snap only, which does not run in containers.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../perl";
use ChangefeedTest;
use HTTP::Tiny;
use JSON::PP;
use Test::More;

my ($driver) = grep { -x } map { "$_/chromedriver" } split(/:/, $ENV{PATH}), '/usr/lib/chromium';
my ($browser) = grep { -x } map { "$_/chromium" } split(/:/, $ENV{PATH});
plan skip_all => 'no chromium and chromedriver here' unless $driver && $browser;

my $server = ChangefeedTest->new(changefeed => {heartbeat => 1, retry => 100});
my $tls_port = $server->listen_tls('localhost');
$server->{h2o}{hosts}{default}{paths}{'/test'} = {'file.dir' => $Bin};
$server->begin;
$server->publish('users', 'id text PRIMARY KEY, name text');

# ---- WebDriver
my $driver_port = free_port();
$ENV{HOME} = "$server->{dir}/home";
mkdir $ENV{HOME};
my $driver_pid = fork // die "fork: $!";
if ($driver_pid == 0)
{
	setpgrp;
	open(STDOUT, '>', "$server->{dir}/chromedriver.log");
	open(STDERR, '>&', \*STDOUT);
	exec { $driver } $driver, "--port=$driver_port" or POSIX::_exit(127);
}
END
{
	my $ended_with = $?;
	kill('KILL', -$driver_pid) if $driver_pid;
	$? = $ended_with;
}

my $http = HTTP::Tiny->new(timeout => 60);
my $session;

# One command of WebDriver's; dies on an error, returns its value.
sub command
{
	my ($method, $path, $body) = @_;
	my $response = $http->request($method, "http://127.0.0.1:$driver_port$path", {headers => {'Content-Type' => 'application/json'}, $body ? (content => encode_json($body)) : ()});
	my $answer = eval { decode_json($response->{content}) } // {};
	$response->{success} or die "$method $path: $response->{status} " . ($answer->{value}{message} // $response->{content});
	return $answer->{value};
}
sub script { return command(POST => "/session/$session/execute/sync", {script => $_[0], args => []}); }
sub open_page { command(POST => "/session/$session/url", {url => $_[0]}); return; }

wait_for(sub { eval { command(GET => '/status')->{ready} } }, 'chromedriver is ready') or BAIL_OUT('chromedriver does not start');
$session = command(POST => '/session', {
	capabilities => {
		alwaysMatch => {
			acceptInsecureCerts => JSON::PP::true,
			'goog:chromeOptions' => {
				binary => $browser,
				args => [qw(--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
					--disable-component-update --disable-sync --disable-dev-shm-usage --disable-crash-reporter), "--user-data-dir=$server->{dir}/profile"],
			},
		},
	},
})->{sessionId};
ok($session, 'a browser');

sub seen { return script('return seen'); }

# A process and all that come from it.
sub descendants
{
	my ($pid) = @_;
	my %parent = ChangefeedTest::process_parents();
	return ($pid, map { descendants($_) } grep { $parent{$_} == $pid } keys %parent);
}

my $row = 0;
for my $origin ("http://127.0.0.1:$server->{http_port}", "https://localhost:$tls_port")
{
	my ($scheme) = $origin =~ /^(\w+)/;
	open_page("$origin/test/follow.html#users");
	ok(wait_for(sub { seen()->{opens} >= 1 }, 'EventSource is open'), "$scheme: EventSource is open");
	my $protocol = script('return performance.getEntriesByType("navigation")[0].nextHopProtocol');
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
	my @browser = grep { $_ != $driver_pid } descendants($driver_pid);
	kill('STOP', @browser) == @browser or die "kill: $!";
	kill('KILL', @{$server->processes->{workers}});
	$server->wait_ready;
	$write->(20);
	kill('CONT', @browser);
	wait_for(sub { scalar(@{seen()->{documents}}) >= @written }, "$scheme: " . @written . ' changes after a sleep');
	my $seen = seen();
	is_deeply($seen->{documents}, \@written, "$scheme: every change fired once and in order");
	is_deeply($seen->{others}, [], "$scheme: no warning, no reset, no nameless message");
	cmp_ok($seen->{opens}, '>=', 4, "$scheme: EventSource had to reconnect");
	my %twice;
	ok(!(grep { $twice{$_}++ } @{$seen->{ids}}), "$scheme: lastEventId is the change's id, each once");
}

# ---- the console
open_page("http://127.0.0.1:$server->{http_port}/");
ok(wait_for(sub { script('return document.body.innerText') =~ /users/ }, 'the console lists the collection'), 'the console lists the collection');
wait_for(sub { script('return document.body.dataset.state') eq 'live' }, 'the console is connected');
my $markup = q{<script>document.title = 'run'</script><img src=x onerror="document.title = 'run'">};
$server->sql(qq{CREATE TABLE "<b>bold" (id text PRIMARY KEY, "<i>" text); ALTER PUBLICATION changefeed ADD TABLE "<b>bold"});
$server->sql(q{INSERT INTO users VALUES ('shown', $$} . $markup . q{$$); INSERT INTO "<b>bold" VALUES ($$<u>$$, $$} . $markup . q{$$)});
ok(wait_for(sub { script('return document.body.innerText') =~ /shown/ }, 'the console shows a change'), 'the console shows a change');
ok(wait_for(sub { index(script('return document.querySelector("main").innerText'), $markup) >= 0 }, 'as text'), 'and its values as text');
script('for (const details of document.querySelectorAll("details")) details.open = true');
ok(wait_for(sub { script('return document.querySelector("nav").innerText') =~ /<b>bold/ }, 'names as text'), 'and names');
is(script('return document.querySelectorAll("main script, main img, b, i, u").length'), 0, 'never as markup');
is(script('return document.title'), 'pg_changefeed', 'and nothing of it runs');
ok(wait_for(sub { script('return document.querySelector("#ring").innerText') =~ /of 16\.\d MB/ }, 'the ring'), 'the console shows how full the ring is');
like(script('return document.querySelector("#lag").innerText'), qr/^[\d.]+ \w+$/, 'and the lag');
script('document.querySelectorAll("nav button")[1].click()');
is(script('return document.querySelector("main").innerText') =~ /shown/ ? 1 : 0, 0, 'choosing a collection begins anew');
$server->sql(q{INSERT INTO users VALUES ('chosen')});
ok(wait_for(sub { script('return document.body.innerText') =~ /chosen/ }, 'its changes'), 'with its changes');
my $errors = eval { command(POST => "/session/$session/se/log", {type => 'browser'}) } // [];
is_deeply([map { $_->{message} } grep { $_->{level} eq 'SEVERE' && $_->{message} =~ m{:$server->{http_port}/ } } @$errors], [], 'without errors of its own');

command(DELETE => "/session/$session");
done_testing();
