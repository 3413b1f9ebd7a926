# A transaction of a million rows: memory stays bounded, another collection's client is served meanwhile, and who
# follows the transaction has each of its rows or is told how many he missed.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use Test::More;
use Time::HiRes qw(time);

my $rows = $ENV{CHANGEFEED_BIG_ROWS} // 1_000_000;
my $limit_mb = 300;

my $server = ChangefeedTest->start(changefeed => {heartbeat => 1}, postgresql => {'changefeed.ring_size' => '64MB'});
$server->publish('big', 'id int PRIMARY KEY, filler text');
$server->publish('small', 'id int PRIMARY KEY');

my $follower = $server->client_start('sse_clients', '--port', $server->{http_port}, '--path', '/cdc/big', '--clients', 1, '--until', $rows,
	'--record', "$server->{dir}/record", '--seconds', 300);
wait_for(sub { $server->client_output('sse_clients') =~ /^open$/m }, 'a client follows');
my $small = $server->stream('/cdc/small');
my $pids = $server->processes;
my %named = (master => $pids->{master}, feed => $pids->{feed}, map { ("worker $_" => $pids->{workers}[$_ - 1]) } 1 .. @{$pids->{workers}});

my $session = $server->session;
my $start = time;
$session->send("BEGIN; INSERT INTO big SELECT i, md5(i::text) FROM generate_series(1, $rows) i; COMMIT");

# The server sends the transaction once it has committed; until the client has its end, the others are served and
# memory is looked at.
my (%peak, $status, $served, $slowest) = ();
while (!defined $status)
{
	for my $name (keys %named)
	{
		my $mb = ChangefeedTest::anonymous_kb($named{$name}) / 1024;
		$peak{$name} = $mb if $mb > ($peak{$name} // 0);
	}
	my $asked = time;
	last if $server->get('/healthz', timeout => 10)->{status} != 200;
	my $took = time - $asked;
	$slowest = $took if $took > ($slowest // 0);
	$served++;
	$status = $? if waitpid($follower, POSIX::WNOHANG()) == $follower;
	last if time - $start > 240;
}
$session->finish;
my $seconds = time - $start;
ok(defined $status, sprintf('the client has reached the end after %.1f s', $seconds));
my ($gaps, $lagged) = $server->client_output('sse_clients') =~ /gaps=(\d+) lagged=(\d+)/;
my $received = () = slurp("$server->{dir}/record") =~ /\n/g;
is($received + ($lagged // 0), $rows, "the client received $received rows, and $gaps warnings told it of $lagged more");
like($server->client_output('sse_clients'), qr/disorder=0 .*resets=0 refused=0/, 'in order');
for my $name (sort keys %peak)
{
	cmp_ok($peak{$name}, '<', $limit_mb, sprintf('%s: at most %.0f MB beyond the ring', $name, $peak{$name}));
}
cmp_ok($slowest, '<', 2, sprintf('%d other requests were served meanwhile, the slowest in %.3f s', $served, $slowest));
$server->sql('INSERT INTO small VALUES (1)');
is($small->event->{json}{document_id}, '1', 'another collection goes on');
is(json_text($server->processes), json_text($pids), 'no process was replaced');

done_testing();
