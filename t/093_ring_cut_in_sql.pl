# The ring's file is cut while sessions read it in SQL: what they read is gone under their hands, which is a SIGBUS. They get
# an ERROR, again and again in the same session, and PostgreSQL never restarts its processes.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use Test::More;

my $server = ChangefeedTest->start(postgresql => {'changefeed.ring_size' => '4MB'});
$server->publish('users', 'id int PRIMARY KEY, filler text');
$server->sql('CREATE TABLE stop (id int)');
my $ring = "$server->{data}/pg_changefeed/ring";
my $cuts = $ENV{CHANGEFEED_CUTS} // 8;

sub count_log { my ($line) = @_; return scalar(() = $server->log =~ /$line/g); }

# A call after the other in one statement, each in a subtransaction: an error leaves the handler of signals in its middle.
my @sessions = map { $server->session } 1 .. 2;
$_->query('SET client_min_messages = error') for @sessions; # that they are too slow for so small a ring is no fault
my $calls = q{
	PERFORM count(*) FROM changefeed.changes('users', max_changes => 10000);
	PERFORM feed_state FROM changefeed.status();
	PERFORM count(*) FROM changefeed.collections;
	PERFORM changefeed.wait_for('0/1', '0 s')};
$_->send("DO \$\$ BEGIN
	WHILE NOT EXISTS (SELECT FROM stop) LOOP
		BEGIN $calls; EXCEPTION WHEN data_corrupted OR object_not_in_prerequisite_state THEN
			IF SQLERRM ~ 'could not read the ring file of pg_changefeed\$' THEN RAISE LOG 'caught while it was read'; END IF;
		END;
	END LOOP;
END \$\$") for @sessions;

my $first = 1;
for my $size (map { (0, 100_000, 3_000_000, 13_000_000)[$_ % 4] } 1 .. $cuts)
{
	my $last = $first + 4999;
	$server->sql("INSERT INTO users SELECT i, repeat('x', 500) FROM generate_series($first, $last) i");
	wait_for(sub { eval { $server->sql("SELECT count(*) > 1000 FROM changefeed.changes('users', max_changes => 10000)") eq 't' } }, 'the ring has changes');
	# the feed writes nothing any more: it would make the file longer again, and only who reads the hole would notice
	$server->wait_for_feed;
	my $histories = count_log('the ring begins a new history');
	truncate($ring, $size) or die "$ring: $!";
	ok(wait_for(sub { count_log('the ring begins a new history') > $histories }, "a new ring after a cut to $size"),
		"cut to $size bytes: a new ring, a new history");
	$server->wait_ready;
	$first = $last + 1;
}
$server->sql('INSERT INTO stop VALUES (1)');
is($_->finish, '', 'a session lived through all of it') for @sessions;
cmp_ok(count_log('caught while it was read'), '>', 0, 'they met it: ' . count_log('caught while it was read') . ' times');
$server->never_restarted;

# ---- a SIGBUS that is none of the ring's does what it always did
my $victim = $server->session;
$victim->query(q{SELECT count(*) FROM changefeed.changes('users')});
my $pid = $victim->query('SELECT pg_backend_pid()');
kill('BUS', $pid) or die "kill: $!";
ok(wait_for(sub { $server->log =~ /(?:server process|client backend) \(PID $pid\) was terminated by signal 7/ }, 'the log says it'),
	'a SIGBUS from elsewhere ends a backend as without us');

done_testing();
