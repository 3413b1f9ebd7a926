# Making a slot waits for all transactions that are writing, for as long as they take, and nothing is said meanwhile: a
# connection that hangs in these moments is told from one that waits, and one that waits is never cut off.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use ChangefeedTest::Proxy;
use Test::More;
use Time::HiRes qw(time);

my $server = ChangefeedTest->new(postgresql => {'changefeed.enabled' => 'off'});
my $proxy = ChangefeedTest::Proxy->new("$server->{dir}/.s.PGSQL.5432");
# asked after 1 s, which is half of twice this
$server->configure('changefeed.conninfo' => "host=127.0.0.1 port=$proxy->{port} user=postgres dbname=postgres tcp_user_timeout=1000");
$server->pg_start;
$server->sql('CREATE EXTENSION pg_changefeed; CREATE TABLE users (id text PRIMARY KEY); ALTER PUBLICATION changefeed ADD TABLE users');

sub maker { return $server->sql(q{SELECT active_pid FROM pg_replication_slots WHERE slot_name = 'changefeed'}); }
sub log_has { my ($line) = @_; return scalar(() = $server->log =~ /$line/g); }

# ---- a transaction that writes for long: the slot waits for it
my $session = $server->session;
$session->query('BEGIN');
$session->query(q{INSERT INTO users VALUES ('before')});
$server->configure('changefeed.enabled' => 'on');
$server->reload;
my $pid = wait_for(sub { maker() }, 'a slot is being made');
like($server->status('message'), qr/creating the replication slot, which waits for all transactions/, 'status() says what is waited for');
my $start = time;
wait_for(sub { time - $start > 6 }, 'six seconds');    # no synchronisation: it is the time that is tested
is(maker(), $pid, 'one that waits is not cut off');
unlike($server->log, qr/WARNING/, 'and nothing is said of it');

# ---- everything hangs meanwhile
$proxy->hang;
$start = time;
ok(wait_for(sub { log_has('WARNING: .*the server did not answer in time') }, 'the log says it', 25),
	sprintf 'hangs: the log says so after %.1f s', time - $start);
is($server->get('/readyz')->{status}, 503, 'hangs: not ready');
$proxy->wake;
ok(wait_for(sub { log_has("is in use by the server's process $pid") }, 'it is tried again'),
	'wakes: it is tried again, and what the server is still at is said');
$session->query('COMMIT');
ok($server->wait_ready, 'wakes: ready once the transaction has ended');

# ---- the answer never comes, while the rest goes on
sub drop_slot
{
	$server->configure('changefeed.enabled' => 'off');
	$server->reload;
	wait_for(sub { eval { $server->sql(q{SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots}); 1 } }, 'the slot is dropped');
	return;
}
drop_slot();
$session->query('BEGIN');
$session->query(q{INSERT INTO users VALUES ('once more')});
$server->configure('changefeed.enabled' => 'on');
$server->reload;
$pid = wait_for(sub { maker() }, 'a slot is being made');
$proxy->order('freeze');
$server->sql("SELECT pg_terminate_backend($pid)");
ok(wait_for(sub { log_has('has ended the creation of the replication slot, and its answer does not arrive') }, 'the log says it'),
	'an answer that was lost: the log says so');
my $again = wait_for(sub { maker() }, 'a slot is being made again');
isnt($again, $pid, 'an answer that was lost: it is tried again');
$session->query('COMMIT');
ok($server->wait_ready, 'an answer that was lost: ready in the end');
$server->sql(q{INSERT INTO users VALUES ('after')});
$server->wait_for_feed;
is(($server->poll_all('users'))[-1]{document_id}, 'after', 'and changes arrive');

# ---- PostgreSQL stops while it hangs
drop_slot();
$session->query('BEGIN');
$session->query(q{INSERT INTO users VALUES ('last')});
$server->configure('changefeed.enabled' => 'on');
$server->reload;
wait_for(sub { maker() }, 'a slot is being made');
$proxy->hang;
$start = time;
is($server->pg_stop, 0, 'PostgreSQL stops while it hangs');
cmp_ok(time - $start, '<', 5, sprintf 'after %.1f s', time - $start);
$server->never_restarted;

done_testing();
