# A table and the changes after it, as README.md joins them: what is committed at that moment is in the one or in the other.
# Its statements are taken from there.
#
# A commit is in the WAL before others see its rows, for as long as it waits for the disk or a synchronous standby. Here the
# standby decides how long that is: none at first, so that a commit hangs until it is cancelled; then one that is stopped and goes on.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use Test::More;

use constant {WRITERS => 4, ROUNDS => 8};

my $readme = slurp("$ChangefeedTest::root/README.md");
my ($block) = $readme =~ /^### A table and the changes after it\n.*?^```sql\n(.*?)^```/ms;
my (undef, $where, $wait, $rows) = split /^-- \d\..*\n/m, $block // '';
my ($lock) = $readme =~ /`(BEGIN; LOCK TABLE users [^`]+; COMMIT;)`/;
BAIL_OUT('README.md has another form') if !$rows || !$lock;

# Only those who ask for it wait for the standby.
my $server = ChangefeedTest->start(postgresql => {synchronous_standby_names => 'standby', synchronous_commit => 'local'});
$server->publish('users', 'id text PRIMARY KEY, name text');

sub hanging { return $server->sql(q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'}); }
sub ids { return join(' ', map { s/\|.*//r } split /\n/, $_[0]); }

# ---- a commit that hangs, whichever way it is waited for
my %second = ('as it is printed' => [$wait, 'PgSleep'], 'with LOCK TABLE' => [$lock, 'relation']);
my $number = 0;
for my $way (sort keys %second)
{
	for my $commit ('COMMIT', 'COMMIT PREPARED')
	{
		my ($statement, $event) = @{$second{$way}};
		my $what = "$commit, $way";
		my $id = 'hidden-' . ++$number;
		my ($writer, $reader) = map { $server->session } 1 .. 2;
		my ($writer_pid, $reader_pid) = map { $_->query('SELECT pg_backend_pid()') } $writer, $reader;
		$server->sql('TRUNCATE users');
		$writer->query("BEGIN; INSERT INTO users VALUES ('$id')" . ($commit =~ /PREPARED/ ? "; PREPARE TRANSACTION '$id'" : ''));
		$writer->query('SET synchronous_commit = on');
		$writer->send($commit =~ /PREPARED/ ? "COMMIT PREPARED '$id'" : $commit);
		wait_for(sub { hanging() == 1 }, "$what: it waits for the standby");

		my $cursor = $reader->query($where);
		is($reader->query($rows), '', "$what: the row is not to be seen yet");
		$server->wait_for_feed;
		is_deeply([map { $_->{document_id} } $server->poll_all('users', since => $cursor)], [],
			"$what: nor is it among the changes, so without waiting it would be lost");

		$reader->send($statement);
		ok(wait_for(sub { $server->sql("SELECT wait_event FROM pg_stat_activity WHERE pid = $reader_pid") eq $event }, "$what: the reader waits"),
			"$what: the reader waits for it");
		$server->sql("SELECT pg_cancel_backend($writer_pid)");    # of the waiting only: it is committed
		$writer->finish;
		$reader->finish;
		is(ids($reader->query($rows)), $id, "$what: and has the row");
		$_->close for $writer, $reader;
	}
}

# ---- nobody waits for the one who waits, who may do nothing but read, at any level of isolation
$server->sql('TRUNCATE users; CREATE ROLE reader; GRANT SELECT ON users TO reader');
my ($writer, $reader) = map { $server->session } 1 .. 2;
$writer->query(q{BEGIN; INSERT INTO users VALUES ('open')});
my $reader_pid = $reader->query(q{SELECT pg_backend_pid(); SET SESSION AUTHORIZATION reader; SET default_transaction_isolation = 'serializable'});
like($reader->query($where), qr/^\d+$/, 'a role that may only read has the LSN');
$reader->send($wait);
wait_for(sub { $server->sql("SELECT wait_event FROM pg_stat_activity WHERE pid = $reader_pid") eq 'PgSleep' }, 'the reader waits');
is($server->sql(q{SET statement_timeout = '10s'; INSERT INTO users VALUES ('another') RETURNING id}), 'another', 'who writes does not wait for the reader');
$writer->query('ROLLBACK');
$reader->finish;
is(ids($reader->query($rows)), 'another', 'it waits until the transactions of before have ended, and has the rows');
$_->close for $writer, $reader;

# ---- under load: writers whose commits hang together, now and then
mkdir "$server->{dir}/wal";
my $standby = $server->background('standby', "$server->{bindir}/pg_receivewal", '--synchronous', '-D', "$server->{dir}/wal",
	'-d', "host=$server->{dir} user=postgres application_name=standby");
wait_for(sub { $server->sql(q{SELECT count(*) FROM pg_stat_replication WHERE application_name = 'standby' AND sync_state = 'sync'}) eq '1' },
	'a synchronous standby');
$server->sql('TRUNCATE users; CREATE TABLE control (stop boolean); INSERT INTO control VALUES (false)');
my @writers = map { $server->session } 1 .. WRITERS;
$_->query('SET synchronous_commit = on') for @writers;
# Each has keys of its own, so that they wait for nothing but the standby.
$writers[$_]->send(<<"SQL") for 0 .. $#writers;
DO \$\$
DECLARE
	key text;
BEGIN
	LOOP
		key := '$_-' || (random() * 1000)::int;
		IF random() < 0.3 THEN
			DELETE FROM users WHERE id = key;
		ELSE
			INSERT INTO users VALUES (key, clock_timestamp()) ON CONFLICT (id) DO UPDATE SET name = excluded.name;
		END IF;
		COMMIT;
		EXIT WHEN (SELECT stop FROM control);
	END LOOP;
END
\$\$
SQL

$reader = $server->session;
my @rounds;
for my $round (1 .. ROUNDS)
{
	kill('STOP', $standby) or die "kill: $!";
	wait_for(sub { hanging() == WRITERS }, 'all commits wait for the standby');
	my $cursor = $reader->query($where);
	my $at_once = $reader->query($rows);
	$reader->send($round % 2 ? $wait : $lock);
	kill('CONT', $standby) or die "kill: $!";
	$reader->finish;
	push @rounds, {cursor => $cursor, at_once => $at_once, waited => scalar $reader->query($rows)};
}
$server->sql('UPDATE control SET stop = true');
$_->finish for @writers;
$server->wait_for_feed;
my $table = join("\n", sort split /\n/, $server->sql($rows));

# The table as a client has it that began with these rows.
sub followed
{
	my ($begin, @changes) = @_;
	my %row = map { split /\|/, $_, 2 } split /\n/, $begin;
	for my $change (@changes)
	{
		delete $row{$change->{document_id}};
		$row{$change->{document_id}} = $change->{new}{name} if $change->{new};
	}
	return join("\n", sort map { "$_|$row{$_}" } keys %row);
}

my ($right, $lost) = (0, 0);
for my $round (@rounds)
{
	my @changes = $server->poll_all('users', since => $round->{cursor});
	$right++ if followed($round->{waited}, @changes) eq $table;
	$lost++ if followed($round->{at_once}, @changes) ne $table;
}
is($right, ROUNDS, 'under load the rows and the changes after them make the table, each time');
cmp_ok($lost, '>', 0, "and would not without waiting, $lost times of @{[ROUNDS]}");

done_testing();
