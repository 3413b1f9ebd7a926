# A ring that has no room for the names of more tables: the feed says so and stops in front of the one that is too many,
# what there is is served, and a larger ring goes on with everything that was committed meanwhile.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use Test::More;

my $server = ChangefeedTest->start(postgresql => {'changefeed.ring_size' => '1MB', max_locks_per_transaction => 1000});
$server->sql('DROP PUBLICATION changefeed; CREATE PUBLICATION changefeed FOR ALL TABLES');

sub make_tables
{
	my ($prefix, $count) = @_;
	$server->sql("DO \$\$ BEGIN FOR i IN 1..$count LOOP EXECUTE
		format('CREATE TABLE ${prefix}_%s (id int); INSERT INTO ${prefix}_%s VALUES (1)', i, i); END LOOP; END \$\$");
	return;
}

make_tables('first', 1000);
$server->wait_for_feed;
my $cursor = ($server->poll_all('first_1000'))[-1]{id};

# ---- in SQL, asking for all of them is no more than for one
my $session = $server->session;
my $pid = $session->query('SELECT pg_backend_pid()');
sub peak_kb { return slurp("/proc/$pid/status") =~ /^VmHWM:\s+(\d+) kB/m ? $1 : 0; }
is($session->query(q{SELECT count(*) FROM changefeed.changes('first_1000')}), 1, 'changes of one, which fills the caches of the server');
my $before = peak_kb();
is($session->query(q{SELECT count(*) FROM changefeed.changes('*', max_changes => 2000)}), 1000, 'changes of all');
my $grown = peak_kb() - $before;
cmp_ok($grown, '<', 8192, "needs $grown kB more");
$session->close;

make_tables('second', 100);
my $said = 'the ring has no room for the names of more tables: make it larger';
ok(wait_for(sub { $server->status('message') eq $said }, 'status() says it'), 'more tables than 1,024: status() says what to do');
is($server->get('/cdc/first_1/poll')->{status}, 200, 'what there is is served');

$server->configure('changefeed.ring_size' => '32MB');
$server->pg_stop;
$server->pg_start;
$server->wait_ready;
$server->wait_for_feed;
my @changes = $server->poll_all('*', since => $cursor);
is(scalar @changes, 100, 'with a larger ring nothing was skipped, and cursors go on');
is(scalar @{$server->poll('/cdc/second_100/poll')->{changes}}, 1, 'and the last table is served');

done_testing();
