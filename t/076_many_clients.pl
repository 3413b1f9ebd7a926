# Many clients: 10,000 streams that idle, with the limit of open files that a login has. Each gets every change; when
# they are gone, so are their memory and their descriptors.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use Test::More;
use Time::HiRes qw(time);

my $clients = $ENV{CHANGEFEED_IDLE_CLIENTS} // 10_000;
my $slack = $ENV{CHANGEFEED_SANITIZED} ? 100 : 1;    # the sanitizers' own memory
my (undef, $hard_limit) = run_command('/bin/sh', '-c', 'ulimit -Hn');
plan skip_all => "no more than $hard_limit open files are allowed here, $clients clients take more" if $hard_limit =~ /^\d+$/ && $hard_limit < $clients + 200;

# What the server is started with; workers raise it themselves, as far as it goes.
run_command('prlimit', '--pid', $$, '--nofile=1024:') == 0 or die 'prlimit';
my $server = ChangefeedTest->start(h2o => {'num-threads' => 2});
$server->publish('users', 'id text PRIMARY KEY');
my @workers = @{$server->processes->{workers}};

sub descriptors { return scalar(map { glob("/proc/$_/fd/*") } @workers); }
sub memory_kb { return ChangefeedTest::anonymous_kb(@workers); }

my ($descriptors, $memory_kb) = (descriptors(), memory_kb());
my $begin = time;
my $load = $server->client_start('sse_clients', '--port', $server->{http_port}, '--path', '/cdc/users', '--clients', $clients, '--until', 'the end');
ok(wait_for(sub { $server->client_output('sse_clients') =~ /^open$/m }, 'all are connected'),
	sprintf('%d streams are open, after %.1f s', $clients, time - $begin));
is($server->metric('streams'), $clients, 'as the server says');
my $held_kb = (memory_kb() - $memory_kb) / $clients;
cmp_ok($held_kb, '<', 40 * $slack, sprintf('each makes the workers hold %.1f kB', $held_kb));

# One of them all at once, while somebody else asks.
$begin = time;
$server->sql(q{INSERT INTO users VALUES ('u1')});
is($server->get('/healthz')->{status}, 200, sprintf('others are answered, after %.0f ms', 1000 * (time - $begin)));
$server->sql(q{INSERT INTO users VALUES ('the end')});
is($server->client_result($load), 0, 'each got each change');
my ($summary) = $server->client_output('sse_clients') =~ /^(finished=.*)$/m;
like($summary // '',
	qr/finished=$clients events=@{[2 * $clients]} connects=$clients disorder=0 gaps=0 lagged=0 resets=0 refused=0 different=0/, $summary // 'no summary');

ok(wait_for(sub { $server->metric('streams') == 0 && descriptors() <= $descriptors + 1 }, 'no stream is left'), 'nothing is left of them, no descriptor');
my $left_kb = 0;
ok(wait_for(sub { ($left_kb = memory_kb() - $memory_kb) < 8192 * $slack }, 'their memory is given back'), "nor memory: $left_kb kB more than before");
is_deeply($server->processes->{workers}, \@workers, 'and the workers are the same');

# ---- where few files may be open, whoever is too many waits until others go
run_command('prlimit', '--pid', $$, '--nofile=400:400') == 0 or die 'prlimit';
$server = ChangefeedTest->start(h2o => {'num-threads' => 1});
$server->publish('users', 'id text PRIMARY KEY');
$load = $server->client_start('sse_clients', '--port', $server->{http_port}, '--path', '/cdc/users', '--clients', 250, '--until', 'the end');
ok(wait_for(sub { $server->status('streams') >= 200 }, 'streams'), 'few files: half of them are for connections');
$server->sql(q{INSERT INTO users VALUES ('u1')});
ok(wait_for(sub { $server->status('events_total') >= 200 }, 'events'), 'few files: the streams go on');
is($server->status('connections'), 200, 'few files: and no more connections are taken');
$server->sql(q{INSERT INTO users VALUES ('the end')});
is($server->get('/healthz')->{status}, 200, 'few files: until some have ended');

done_testing();
