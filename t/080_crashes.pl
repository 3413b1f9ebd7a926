# Crashes: worker, feed and master are killed while writers write and 100 clients reconnect at random. Every client
# gets every change once, in order, and PostgreSQL does not notice.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use Test::More;

my $clients = $ENV{CHANGEFEED_CRASH_CLIENTS} // 100;
my $rounds = $ENV{CHANGEFEED_CRASH_ROUNDS} // 3;

my $server = ChangefeedTest->start(changefeed => {heartbeat => 1, retry => 50}, postgresql => {'changefeed.ring_size' => '64MB'});
$server->publish('users', 'id text PRIMARY KEY, balance int');
my $postmaster = $server->postmaster;

# Three writers, with transactions of one to five rows that overlap; they write until they are told to stop.
$server->sql(q{CREATE TABLE control (stop boolean); INSERT INTO control VALUES (false);
	CREATE PROCEDURE write_until_stopped(writer text) LANGUAGE plpgsql AS $$
	DECLARE step int := 0;
	BEGIN
		WHILE NOT (SELECT stop FROM control) LOOP
			FOR i IN 1 .. 1 + step % 5 LOOP
				INSERT INTO users VALUES (writer || '-' || step || '-' || i, i);
			END LOOP;
			step := step + 1;
			PERFORM pg_sleep(0.002);
			COMMIT;
		END LOOP;
	END $$});
my $since = $server->now_lsn;
my $record = "$server->{dir}/record";
my $load = $server->client_start('sse_clients', '--port', $server->{http_port}, '--path', '/cdc/users', '--clients', $clients,
	'--from', $since, '--until', 'the end', '--reconnect', 200, '--record', $record, '--seconds', ChangefeedTest::TEST_SECONDS);
ok(wait_for(sub { $server->client_output('sse_clients') =~ /^open$/m }, 'the clients are connected'), "$clients clients are connected");
my @writers = map { my $session = $server->session; $session->send("CALL write_until_stopped('$_')") } qw(a b c);

sub wait_for_rows
{
	my ($more) = @_;
	my $wanted = $more + $server->sql('SELECT count(*) FROM users');
	return wait_for(sub { $server->sql('SELECT count(*) FROM users') >= $wanted }, 'the writers write on');
}

for my $round (1 .. $rounds)
{
	for my $victim (qw(worker feed master))
	{
		wait_for_rows(100);
		my $before = $server->processes;
		my $pid = $victim eq 'worker' ? $before->{workers}[rand @{$before->{workers}}] : $before->{$victim};
		kill('KILL', $pid) or die "kill: $!";
		my $replaced = wait_for(sub
			{
				my $now = $server->processes;
				return 0 if !$now->{master};
				my @all = ($now->{master}, $now->{feed}, @{$now->{workers}});
				return !(grep { $_ == $pid } @all) && !(grep { !process_alive($_) } @all) && @{$now->{workers}} == @{$before->{workers}};
			}, "a new $victim");
		ok($replaced, "round $round: a $victim that is killed is replaced");
		$server->wait_ready;
		if ($victim eq 'worker')
		{
			my $now = $server->processes;
			is("$now->{master} $now->{feed}", "$before->{master} $before->{feed}", 'master and feed go on');
		}
	}
}
wait_for_rows(100);
$server->sql('UPDATE control SET stop = true');
$_->finish for @writers;
$server->sql(q{INSERT INTO users VALUES ('the end')});

my $status = $server->client_result($load, 60);
my ($summary) = $server->client_output('sse_clients') =~ /^(finished=.*)$/m;
is($status, 0, 'every client got every change once and in order') or diag($server->client_output('sse_clients'));
like($summary // '', qr/finished=$clients .* disorder=0 gaps=0 lagged=0 resets=0 refused=0 different=0/, $summary // 'no summary');
my @got = map { (split /\t/)[1] } split /\n/, slurp($record);
my @written = split /\n/, $server->sql('SELECT id FROM users');
is(scalar @got, scalar @written, 'as many changes as rows');
is_deeply([sort @got], [sort @written], 'the same');
is_deeply([map { (split /\t/)[0] } split /\n/, slurp($record)], [map { $_->{id} } $server->poll_all('users', since => $since)],
	'the ids are those that a poll gives now');

# ---- PostgreSQL has not noticed
is($server->postmaster, $postmaster, 'the postmaster is the same');
$server->never_restarted;

# ---- nothing is left of what was killed
my $now = $server->processes;
my %parent = ChangefeedTest::process_parents();
my %ours = map { $_ => 1 } $now->{master}, $now->{feed}, @{$now->{workers}};
my $program = readlink("/proc/$now->{master}/exe");
my @strays = grep { !$ours{$_} && (readlink("/proc/$_/exe") // '') eq $program && slurp("/proc/$_/cmdline") =~ /\Q$server->{dir}\E/ } keys %parent;
is_deeply(\@strays, [], 'no process of a killed master is left');

# ---- while nobody starts it again: what a killed master left in the ring's file is not shown as if it were there
my $stream = $server->stream('/cdc/users');
my $launcher = $parent{$now->{master}};
is($server->status('workers > 0 AND streams > 0'), 't', 'workers and streams are counted');
kill('STOP', $launcher) == 1 && kill('KILL', $now->{master}) == 1 or die "kill: $!";
ok(wait_for(sub { $server->status('feed_state') eq 'not running' }, 'it does not run'), 'a master that was killed is not running');
is($server->status('workers, connections, streams, polls_waiting, master_pid, feed_pid'), '0|0|0|0|0|0',
	'and nothing of it is counted any more');
kill('CONT', $launcher);
$server->wait_ready;

done_testing();
