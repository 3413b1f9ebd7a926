# Shutdown: PostgreSQL stops at once although 1000 streams are open, and nothing of ours outlives it.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use Test::More;
use Time::HiRes qw(time);

my $server = ChangefeedTest->start(h2o => {'max-connections' => 2000});
$server->publish('users', 'id int PRIMARY KEY');

sub our_processes
{
	my $pids = $server->processes;
	return ($pids->{master}, $pids->{feed}, @{$pids->{workers}});
}

my $load = $server->client_start('sse_clients', '--port', $server->{http_port}, '--path', '/cdc/users', '--clients', 1000);
ok(wait_for(sub { $server->client_output('sse_clients') =~ /^open$/m }, '1000 streams are open'), '1000 streams are open');
$server->sql('INSERT INTO users SELECT generate_series(1, 10)');
$server->wait_for_feed;
my @pids = our_processes();
my $start = time;
is($server->pg_stop('fast'), 0, 'pg_ctl stop -m fast');
my $took = time - $start;
cmp_ok($took, '<', 5, sprintf('took %.2f s', $took));
ok(!(grep { process_alive($_) } @pids), 'nothing of ours is left running');
$server->client_result($load);
like($server->client_output('sse_clients'), qr/^finished=1000 events=10000 connects=1000 disorder=0 gaps=0 /m, 'every client had its changes and saw the end');

$server->pg_start;
$server->wait_ready;
is($server->poll('/cdc/users/poll')->{count}, 10, 'the ring is there after a restart');
my $stream = $server->stream('/cdc/users');
@pids = our_processes();
is($server->pg_stop('smart'), 0, 'pg_ctl stop -m smart');
ok($stream->wait_for_end(5), 'ends the streams too');
ok(!(grep { process_alive($_) } @pids), 'and leaves nothing running');

# ---- a stop with a client in the middle of a flood that it does not read
$server->pg_start;
$server->wait_ready;
my $stalled = $server->stream('/cdc/users');
$server->sql('INSERT INTO users SELECT generate_series(1000, 200000)');
$start = time;
is($server->pg_stop('fast'), 0, 'pg_ctl stop -m fast behind a flood');
cmp_ok(time - $start, '<', 10, sprintf('took %.2f s', time - $start));

# ---- a worker that does not end: it is killed after a while, and the master sleeps until then
sub cpu_seconds { return (slurp("/proc/$_[0]/stat") =~ /\) \S+(?: \S+){10} (\d+) (\d+)/) ? ($1 + $2) / POSIX::sysconf(POSIX::_SC_CLK_TCK()) : undef; }
$server->pg_start;
$server->wait_ready;
my ($master, undef, $stuck) = our_processes();
my $used = cpu_seconds($master);
my $before = $used;
kill('STOP', $stuck) && kill('TERM', $master) or die "kill: $!";
ok(wait_for(sub { $used = cpu_seconds($master) // $used; !process_alive($master) }, 'the master ends'),
	'a worker that does not end: the master ends all the same');
ok(!process_alive($stuck), 'and so does the worker');
cmp_ok($used - $before, '<', 0.3, sprintf('it used %.2f s of a processor meanwhile', $used - $before));

# ---- the postmaster is killed
$server->wait_ready;
@pids = our_processes();
kill('KILL', $server->postmaster) or die "kill: $!";
$start = time;
ok(wait_for(sub { !grep { process_alive($_) } @pids }, 'the program ends', 10), 'kill -9 of the postmaster: the program ends');
$took = time - $start;
cmp_ok($took, '<', 2, sprintf('after %.2f s', $took));

unlike($server->log, qr/a process that was to end was killed/, 'no process of ours crashed on its way out');

# ---- switched off
$server->pg_start_again;
$server->wait_ready;
@pids = our_processes();
$server->configure('changefeed.enabled' => 'off');
$server->pg_stop;
$server->pg_start;
is($server->get('/healthz')->{status}, 599, 'changefeed.enabled = off: nobody listens');

done_testing();
