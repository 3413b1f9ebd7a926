# Everything is killed, or stopped and continued, at random moments: our processes, the walsender, backends, PostgreSQL as a
# whole; while writers write transactions of all kinds and clients reconnect at random. At the end every client, of streams and
# of polls, has exactly the committed changes: each once, in order, with the same ids as everybody else.
#
#   CHANGEFEED_TEST_SEED=1 CHANGEFEED_KILLS=200 CHANGEFEED_TEST_SECONDS=3000 prove t/085_kills.pl
# repeats a run, or makes it longer. Who is killed and when comes from the seed; what happens just then does not.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use List::Util qw(shuffle);
use Test::More;
use Time::HiRes qw(time);

my $seed = $ENV{CHANGEFEED_TEST_SEED} // int(rand 2**31);
my $kills = $ENV{CHANGEFEED_KILLS} // 18;    # each kind once
my $clients = $ENV{CHANGEFEED_CRASH_CLIENTS} // 20;
srand $seed;
diag("CHANGEFEED_TEST_SEED=$seed CHANGEFEED_KILLS=$kills");

my $server = ChangefeedTest->start(
	changefeed => {heartbeat => 1, retry => 50},
	postgresql => {'changefeed.ring_size' => '256MB', deadlock_timeout => '50ms', restart_after_crash => 'on',
		log_min_messages => 'log', logical_decoding_work_mem => '64kB'});

# ---- the writers
# The journal has every change of a transaction in the order of its execution, and is committed or not together with it.
my @tables = qw(accounts orders items);
$server->sql(q{
	CREATE TABLE control (stop boolean);
	INSERT INTO control VALUES (false);
	CREATE TABLE journal (n bigserial, xid text, collection text, operation text, id text, version int);
	CREATE FUNCTION write_journal() RETURNS trigger LANGUAGE plpgsql AS $$
	DECLARE r record;
	BEGIN
		r := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
		INSERT INTO journal (xid, collection, operation, id, version)
			VALUES (pg_current_xact_id()::xid::text, TG_TABLE_NAME, TG_OP, r.id, CASE WHEN TG_OP <> 'DELETE' THEN r.version END);
		RETURN NULL;
	END $$;
	CREATE PROCEDURE insert_one(name text, row_id text) LANGUAGE plpgsql AS $$
	BEGIN
		EXECUTE format('INSERT INTO %I VALUES ($1, 1, repeat(md5($1), (3 * random())::int))', name) USING row_id;
	END $$;
	CREATE PROCEDURE write_until_stopped(writer text, seed float8) LANGUAGE plpgsql AS $$
	DECLARE
		step int := 0;
		names text[] := '{accounts,orders,items}';
		name text;
		row_id text;
	BEGIN
		PERFORM setseed(seed);
		WHILE NOT (SELECT stop FROM control) LOOP
			step := step + 1;
			FOR i IN 1 .. (6 * random())::int LOOP
				name := names[1 + (2 * random())::int];
				row_id := format('%s-%s-%s', writer, step, i);
				IF random() < 0.6 THEN
					CALL insert_one(name, row_id);
				ELSIF random() < 0.7 THEN
					EXECUTE format('UPDATE %I SET version = version + 1 WHERE id = $1', name) USING 'shared-' || (20 * random())::int;
				ELSE
					CALL insert_one(name, row_id);
					EXECUTE format('DELETE FROM %I WHERE id = $1', name) USING row_id;
				END IF;
				BEGIN	-- a savepoint
					CALL insert_one(name, row_id || '-inner');
					IF random() < 0.4 THEN
						RAISE EXCEPTION 'back to the savepoint';
					END IF;
				EXCEPTION WHEN raise_exception THEN
					NULL;
				END;
			END LOOP;
			IF random() < 0.004 THEN
				INSERT INTO items SELECT format('%s-%s-large-%s', writer, step, i), 1, 'x' FROM generate_series(1, 2000) i;
			END IF;
			IF random() < 0.15 THEN
				ROLLBACK;
			ELSE
				COMMIT;
			END IF;
			PERFORM pg_sleep(0.02 * random());
		END LOOP;
	END $$;} . join('', map { qq{
	CREATE TABLE $_ (id text PRIMARY KEY, version int, filler text);
	CREATE TRIGGER journal AFTER INSERT OR UPDATE OR DELETE ON $_ FOR EACH ROW EXECUTE FUNCTION write_journal();} } @tables));
$server->publish($_) for @tables;
my $since = $server->now_lsn;
$server->sql(join '', map { "INSERT INTO $_ SELECT 'shared-' || i, 1 FROM generate_series(0, 20) i;\n" } @tables);

my $stop_file = "$server->{dir}/stop";
my @children;

# Runs $work in a process of its own.
sub background
{
	my ($work) = @_;
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		local $@;
		eval { $work->() };
		print STDERR $@ if $@;
		POSIX::_exit($@ ? 1 : 0);
	}
	push @children, $pid;
	push @{$server->{clients}}, $pid;
	return $pid;
}

sub pause { select(undef, undef, undef, $_[0]); return; }

# A writer whose session is killed goes on with another one, under another name.
sub write_on
{
	my ($writer) = @_;
	srand($seed + $writer);
	for (my $session = 0; !-e $stop_file; $session++)
	{
		run_command($server->psql_command, '-c', "CALL write_until_stopped('w$writer.$session', " . (2 * rand() - 1) . ')');
		pause(0.1);
	}
	return;
}

# Polls from cursor to cursor, at times twice with the same cursor as if an answer had been lost; writes down the ids.
sub poll_on
{
	my ($poller, $file) = @_;
	my ($cursor, $end) = ($since, 0);
	srand($seed + 100 + $poller);
	open(my $out, '>', $file) or die "$file: $!";
	while (!$end)
	{
		my $limit = (1, 7, 100, 1000, 1000, 10_000, 10_000)[rand 7];
		my $answer = $server->get("/cdc/*/poll?since_lsn=$cursor&limit=$limit&wait=1", timeout => 10);
		if ($answer->{status} != 200)
		{
			die "poller $poller: $answer->{status} $answer->{content}\n" if $answer->{status} != 599;
			pause(0.05);
			next;
		}
		next if rand() < 0.1;
		my ($next) = $answer->{content} =~ /"next_cursor":\{"since_ms":\d+,"since_lsn":"([^"]+)"/ or next;    # an answer that was cut off
		print $out "$1\n" while $answer->{content} =~ /"collection":"\w+","id":"(\d+-\d+)"/g;
		$end = $answer->{content} =~ /"document_id":"the end"/;
		$cursor = $next;
	}
	close($out);
	return;
}

my $record = "$server->{dir}/record";
my $load = $server->client_start('sse_clients', '--port', $server->{http_port}, '--path', '/cdc/*', '--clients', $clients, '--from', $since,
	'--until', 'the end', '--reconnect', 500, '--record', $record, '--data', '--seed', $seed, '--seconds', ChangefeedTest::TEST_SECONDS);
my @pollers = map { my $poller = $_; background(sub { poll_on($poller, "$server->{dir}/poller$poller") }) } 1 .. 2;
my @writers = map { my $writer = $_; background(sub { write_on($writer) }) } 1 .. 4;

# ---- the kills
sub crashes { my $count = () = $server->log =~ /terminating any other active server processes/g; return $count; }
sub ask { return eval { $server->sql($_[0]) } || undef; }
sub server_answers { return wait_for(sub { ask('SELECT 1') }, 'PostgreSQL answers', 60); }

sub our_pids
{
	return wait_for(sub { my $now = eval { $server->processes }; $now && $now->{master} && $now->{feed} && @{$now->{workers}} ? $now : undef },
		'our processes are there', 60);
}

sub our_pid
{
	my ($victim) = @_;
	my $pids = our_pids();
	return $victim eq 'worker' ? $pids->{workers}[rand @{$pids->{workers}}]
		: $victim eq 'launcher' ? {ChangefeedTest::process_parents()}->{$pids->{master}}
		: $pids->{$victim};
}

sub server_pid
{
	my ($victim) = @_;
	my $query = $victim eq 'walsender' ? 'SELECT active_pid FROM pg_replication_slots'
		: q{SELECT pid FROM pg_stat_activity WHERE query LIKE 'CALL %' ORDER BY random() LIMIT 1};
	return wait_for(sub { ask($query) }, "a $victim", 60);
}

# Stops a process for a moment, in which the others go on.
sub stop_and_continue
{
	my ($pid) = @_;
	kill('STOP', $pid) or return;
	pause(0.1 + rand 1);
	kill('CONT', $pid);
	return;
}

my %crash_is_right = map { $_ => 1 } 'kill walsender', 'kill backend';
my %faults = (
	(map { my $victim = $_; ("kill $victim" => sub { kill('KILL', our_pid($victim)) }) } qw(master feed worker)),
	(map { my $victim = $_; ("stop $victim" => sub { stop_and_continue(our_pid($victim)) }) } qw(master feed worker)),
	'terminate launcher' => sub { kill('TERM', our_pid('launcher')) },
	'stop launcher' => sub { stop_and_continue(our_pid('launcher')) },
	'terminate walsender' => sub { kill('TERM', server_pid('walsender')) },
	'terminate backend' => sub { kill('TERM', server_pid('backend')) },
	'stop walsender' => sub { stop_and_continue(server_pid('walsender')) },
	'stop postmaster' => sub { stop_and_continue($server->postmaster) },
	'kill walsender' => sub { kill('KILL', server_pid('walsender')) },
	'kill backend' => sub { kill('KILL', server_pid('backend')) },
	'kill postmaster' => sub { kill('KILL', $server->postmaster); $server->pg_start_again },
	'kill all' => sub {
		my $pids = our_pids();
		kill('KILL', $server->postmaster, $pids->{master}, $pids->{feed}, @{$pids->{workers}});
		$server->pg_start_again;
	},
	'stop the server at once' => sub { $server->pg_stop('immediate'); $server->pg_start_again },
	'restart the server' => sub { $server->pg_stop('fast'); $server->pg_start_again },
);

my (@plan, %done);
push @plan, shuffle(sort keys %faults) while @plan < $kills;
my $slowest = 0;
for my $fault (@plan[0 .. $kills - 1])
{
	my $settle = rand() < 0.6;
	pause(rand 0.5);
	my ($crashes, $postmaster) = (crashes(), $server->postmaster);
	note(sprintf '%.3f %s', time, $fault);
	$faults{$fault}->();
	$done{$fault}++;
	next unless $settle || $crash_is_right{$fault} || $fault =~ /postmaster|server|all/;
	my $start = time;
	server_answers();
	$server->wait_ready;
	my $took = time - $start;
	$slowest = $took if $took > $slowest;
	next if $crash_is_right{$fault} || $fault =~ /postmaster|server|all/;
	is(crashes(), $crashes, "$fault: PostgreSQL does not restart") unless crashes() == $crashes;
}
server_answers();
$server->wait_ready;
pass(sprintf('%d faults of %d kinds; the slowest was over after %.1f s', $kills, scalar keys %done, $slowest));
is(crashes(), ($done{'kill walsender'} // 0) + ($done{'kill backend'} // 0), 'PostgreSQL restarted only where one of its own processes was killed');

# ---- the end
spew($stop_file, '');
$server->sql('UPDATE control SET stop = true');
for my $pid (@writers) { wait_for(sub { waitpid($pid, POSIX::WNOHANG()) == $pid }, 'a writer ends', 60); }
$server->sql(q{INSERT INTO accounts VALUES ('the end', 1)});
my $patience = 120 + 10 * $kills;    # on a machine that does other things, too
my $status = $server->client_result($load, $patience);
my ($summary) = $server->client_output('sse_clients') =~ /^(finished=.*)$/m;
is($status, 0, 'streams: ' . ($summary // 'not at the end')) or diag($server->client_output('sse_clients'));
for my $pid (@pollers) { is($server->client_result($pid, $patience), 0, 'a poller has reached the end'); }

my @ids = map { (split /\t/)[0] } split /\n/, slurp($record);
for my $poller (1 .. 2)
{
	my @polled = split /\n/, slurp("$server->{dir}/poller$poller");
	my ($first) = grep { ($polled[$_] // '') ne ($ids[$_] // '') } 0 .. ($#ids > $#polled ? $#ids : $#polled);
	ok(!defined $first, 'poller ' . $poller . ': the same ' . @polled . ' ids, each once, in the same order')
		or diag("number $first: stream $ids[$first], poll $polled[$first]");
}

# What the first stream received is compared with the journal in SQL.
$server->sql(qq{
	CREATE TABLE received (seq bigserial, line text);
	\\copy received (line) FROM '$record' (FORMAT csv, DELIMITER E'\\x02', QUOTE E'\\x01')
	CREATE TABLE event AS SELECT seq, split_part(line, E'\\t', 1) AS cursor, data ->> 'xid' AS xid, data ->> 'collection' AS collection,
			data ->> 'operation' AS operation, data ->> 'document_id' AS id, (data -> 'new' ->> 'version')::int AS version
		FROM received, CAST(substr(line, strpos(line, E'\\t') + 1) AS jsonb) data});
my $transactions = q{
	WITH written AS (SELECT xid, array_agg((collection, operation, id, version)::text ORDER BY n) AS changes FROM journal GROUP BY xid),
		got AS (SELECT xid, array_agg((collection, operation, id, version)::text ORDER BY seq) AS changes FROM event GROUP BY xid)};
is($server->sql("$transactions SELECT count(*) FROM written FULL JOIN got USING (xid) WHERE written.changes IS DISTINCT FROM got.changes"), 0,
	'every committed transaction was received as it was executed, and nothing else: '
		. $server->sql('SELECT count(DISTINCT xid), count(*) FROM journal') =~ s/\|/ transactions, /r . ' changes')
	or diag($server->sql("$transactions SELECT xid, left(written.changes::text, 300), left(got.changes::text, 300)
		FROM written FULL JOIN got USING (xid) WHERE written.changes IS DISTINCT FROM got.changes LIMIT 5"));
is($server->sql('SELECT count(*) FROM (SELECT xid IS DISTINCT FROM lag(xid) OVER (ORDER BY seq) AS begins FROM event) e WHERE begins'),
	$server->sql('SELECT count(DISTINCT xid) FROM event'),
	'transactions are not mixed');
is($server->sql(q{SELECT count(*) FROM
	(SELECT version, lag(version) OVER (PARTITION BY collection, id ORDER BY seq) AS before
	FROM event WHERE operation <> 'DELETE') e WHERE version <> coalesce(before, 0) + 1}), 0,
	'each row goes through its versions in their order');
for my $table (@tables)
{
	is($server->sql(qq{SELECT count(*) FROM $table t FULL JOIN
		(SELECT DISTINCT ON (id) * FROM event WHERE collection = '$table' ORDER BY id, seq DESC) e USING (id)
		WHERE (t.id IS NULL) <> (coalesce(e.operation, 'DELETE') = 'DELETE') OR t.version <> e.version}), 0, "$table is what its changes lead to");
}

done_testing();
