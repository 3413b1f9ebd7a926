# Bench::Rows: what is measured, one function for each group of rows. Runs of the product and of its peers alternate, because
# only what was measured side by side can be compared. Each function reports through Bench::Report.
package Bench::Rows;

use strict;
use warnings;

use HTTP::Tiny;
use JSON::PP;
use Time::HiRes qw(time sleep);

use Bench;
use Bench::Report qw(compare limit note_line);

our %rows = (
	fill => \&fill,
	fanout => \&fanout,
	cpu => \&cpu,
	latency => \&latency,
	wal => \&wal,
	idle => \&idle,
	replay => \&replay,
	poll => \&poll,
	filtered => \&filtered,
	start => \&start,
);
our @order = qw(fill fanout cpu latency wal idle replay poll filtered start);
our $repetitions = 5;

my $PAYLOAD = 200;
my $seq = 1;    # of the next row written to the tables bench_*

# The tables that write_load writes.
sub prepare
{
	my $tables = join '', map { "CREATE TABLE bench_$_ (seq bigint PRIMARY KEY, sent_us bigint, pad text);" } 0 .. 9;
	sql($tables . 'ALTER PUBLICATION changefeed ADD TABLE ' . join(', ', map { "bench_$_" } 0 .. 9));
	return;
}

sub truncate_tables { sql('TRUNCATE ' . join ', ', map { "bench_$_" } 0 .. 9); return; }

sub start_writer
{
	my (%option) = @_;
	%option = (payload => $PAYLOAD, %option);
	return start_program(undef, "$bin/write_load", '--conninfo', '', '--first', $seq, map { ("--$_", $option{$_}) } keys %option);
}

sub stop_writer
{
	my ($writer, $rows) = @_;
	my $result = decode_json(stop($writer));
	$seq += $result->{commits} * ($rows // 1);
	return $result;
}

sub start_publisher
{
	my ($nchan, %option) = @_;
	return start_program(undef, "$bin/write_load", '--publish-port', $nchan->{port}, '--publish-path', '/publish', '--payload', $PAYLOAD,
		map { ("--$_", $option{$_}) } keys %option);
}

sub start_plain
{
	my (@options) = @_;
	my $port = Bench::free_port();
	my $plain = start_program(undef, "$bin/plain_server", '--port', $port, @options);
	@$plain{qw(port workers)} = ($port, [$plain->{pid}]);
	wait_until(sub { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) }, 'the plain server listens');
	return $plain;
}

# What streams get in some seconds, after a while to warm up.
sub observe
{
	my ($client, $seconds, $warm_up) = @_;
	sleep($warm_up // 0.7);
	my $from = mark($client);
	sleep($seconds);
	return rates($client, $from, mark($client));
}

sub observe_changefeed
{
	my ($seconds, $rate, $rows, $streams, %option) = @_;
	my $changefeed = changefeed(%option);
	my $client = load_client($changefeed, connections => $streams, parse => $option{parse} // $streams, path => $option{path} // '/cdc/bench_0');
	kill('STOP', @{$changefeed->{workers}}) if $option{backlog};
	my $writer = start_writer(rate => $rate, rows => $rows, payload => $option{payload} // $PAYLOAD);
	sleep($option{backlog}) if $option{backlog};
	kill('CONT', @{$changefeed->{workers}}) if $option{backlog};
	my $seen = observe($client, $seconds, $option{backlog} ? 0.1 : 0.7);
	stop_writer($writer, $rows);
	stop($client);
	stop($changefeed);
	truncate_tables();
	return $seen;
}

sub observe_nchan
{
	my ($seconds, $rate, $streams, $parse) = @_;
	my $nchan = start_nchan(buffer => 1000);
	my $client = load_client($nchan, connections => $streams, parse => $parse // $streams, path => '/subscribe');
	my $publisher = start_publisher($nchan, rate => $rate);
	my $seen = observe($client, $seconds);
	stop($publisher);
	stop($client);
	stop($nchan);
	return $seen;
}

sub observe_plain
{
	my ($seconds, $streams, $parse, @options) = @_;
	my $plain = start_plain(@options);
	my $client = load_client($plain, connections => $streams, parse => $parse // $streams);
	my $seen = observe($client, $seconds);
	stop($client);
	stop($plain);
	return $seen;
}

sub frame_size { my ($seen) = @_; return int($seen->{bytes_per_event} + 0.5) || 450; }

# ---- filling the ring

my %fill_loads = (
	'100k one-row transactions' => {sql => 'SET synchronous_commit = off; CALL singles();'},
	'200k updates, identity full' => {sql => 'UPDATE wide SET number = number + 1;'},
);

sub fill
{
	sql(q{CREATE TABLE rows (id bigserial PRIMARY KEY, text text, number numeric DEFAULT 1.5, at timestamptz DEFAULT now());
		CREATE TABLE wide (id int PRIMARY KEY, text text, number int); ALTER TABLE wide REPLICA IDENTITY FULL;
		CREATE TABLE fill_end (id serial PRIMARY KEY);
		INSERT INTO wide SELECT i, md5(i::text), 0 FROM generate_series(1, 200000) i; ALTER PUBLICATION changefeed ADD TABLE rows, wide, fill_end});
	sql(q{CREATE PROCEDURE singles() LANGUAGE plpgsql AS $$ BEGIN
		FOR i IN 1 .. 100000 LOOP INSERT INTO rows (text) VALUES (md5(i::text)); COMMIT; END LOOP; END $$});
	my $file = "$ENV{PGHOST}/rows.txt";
	sql("COPY (SELECT md5(i::text) FROM generate_series(1, 1000000) i) TO '$file'");
	$fill_loads{'COPY of 1M rows'} = {sql => "COPY rows (text) FROM '$file';"};
	# most of them find it full: each checkpoint evicts, and the stream waits if that is late
	$fill_loads{'COPY of 1M rows into a ring of 32 MB'} = {sql => "COPY rows (text) FROM '$file';", ring_size => '32MB', goal => '>= 0.9'};
	for my $load (sort keys %fill_loads)
	{
		my (@raw, @durable, @raw_cpu, @feed_cpu);
		for my $repetition (1 .. $repetitions)
		{
			fill_once($load, $repetition % 2, \@raw, \@durable, \@raw_cpu, \@feed_cpu);
		}
		compare("fill the ring, durable: $load", 'speed', 'bare libpq client', $fill_loads{$load}{goal} // '>= 0.97', 'seconds', \@raw, \@durable);
		note_line(sprintf('CPU of the feed %.2f s, of the bare client %.2f s', median(@feed_cpu), median(@raw_cpu)));
	}
	return;
}

sub fill_once
{
	my ($load, $raw_first, $raw, $durable, $raw_cpu, $feed_cpu) = @_;
	my %ring = (ring => 'fill_ring', slot => 'fill', ring_size => $fill_loads{$load}{ring_size} // '1GB');
	stop(changefeed(%ring));
	sql(q{SELECT pg_create_logical_replication_slot('raw', 'pgoutput')});
	sql_file("$fill_loads{$load}{sql}\n\\o $dir/end\nSELECT pg_current_wal_insert_lsn();\n\\o\nINSERT INTO fill_end DEFAULT VALUES;\nCHECKPOINT;\n");
	my ($end) = Bench::slurp("$dir/end") =~ m{([0-9A-F]+/[0-9A-F]+)};
	my $consume_raw = sub {
		my $client = start_program('ready', "$bin/raw_client", '--conninfo', '', '--slot', 'raw', '--end', $end);
		my $out = $client->{out};
		my $result = decode_json(scalar <$out>);
		stop($client);
		push @$raw, $result->{ended_us} / 1e6 - Bench::replication_started('raw');
		push @$raw_cpu, $result->{own_cpu_us} / 1e6;
	};
	my $consume_feed = sub {
		my ($high, $low) = map { hex } split m{/}, $end;
		# at a page's border the insert position is behind the header of the next page
		my $lsn = ($high << 32) + $low - 64;
		my $changefeed = changefeed(%ring);
		push @$durable, wait_until_durable($changefeed, $lsn) - Bench::replication_started('fill');
		push @$feed_cpu, pids_cpu($changefeed->{feed}) / 1e6;
		stop($changefeed);
	};
	$_->() for $raw_first ? ($consume_raw, $consume_feed) : ($consume_feed, $consume_raw);
	drop_slots('raw', 'fill');
	unlink "$dir/fill_ring";
	return;
}

# Returns when it was. The change behind the others is waited for in a stream: asking again and again needs the cores that are
# being measured.
sub wait_until_durable
{
	my ($changefeed, $lsn) = @_;
	my $stream = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $changefeed->{port}) or die "bench: no connection: $!\n";
	print {$stream} "GET /cdc/fill_end?since_lsn=earliest HTTP/1.1\r\nHost: bench\r\n\r\n";
	while (my $line = <$stream>)
	{
		last if $line =~ /^event: insert/;
	}
	wait_until(sub { metrics($changefeed)->{durable_lsn} >= $lsn }, 'the ring is durable');
	return time;
}

# ---- streams

# The worker is held for three seconds first, so that it never waits for PostgreSQL: what it can do is asked, not how fast
# changes come on the cores that are left.
sub fanout
{
	for my $streams (100, 1000, 5000)
	{
		my (%wall, %per_cpu);
		for my $repetition (1 .. $repetitions)
		{
			my $changefeed = observe_changefeed(1, 0, 100, $streams, parse => 2, backlog => 3);
			my %seen = (
				changefeed => $changefeed,
				nchan => observe_nchan(2, 0, $streams, 2),
				plain => observe_plain(2, $streams, 2, '--flood', '--frame', frame_size($changefeed)),
			);
			push @{$wall{$_}}, $seen{$_}{per_second} / 1e6 for keys %seen;
			push @{$per_cpu{$_}}, $seen{$_}{per_cpu_second} / 1e6 for keys %seen;
		}
		compare("fan-out to $streams streams", 'events/s', 'nchan', '>= 10', 'M/s', $wall{changefeed}, $wall{nchan});
		compare("fan-out to $streams streams", 'events per CPU second', 'large plain writes', '>= 0.8', 'M', $per_cpu{changefeed}, $per_cpu{plain});
	}
	return;
}

sub cpu
{
	for my $case ([100, 1000], [10, 5000])
	{
		my ($rate, $streams) = @$case;
		my %cost;
		for my $repetition (1 .. $repetitions)
		{
			my $changefeed = observe_changefeed(2, $rate, 1, $streams, parse => 2);
			push @{$cost{changefeed}}, $changefeed->{cpu_us_per_event};
			push @{$cost{plain}}, observe_plain(2, $streams, 2, '--rate', $rate, '--frame', frame_size($changefeed))->{cpu_us_per_event};
			push @{$cost{nchan}}, observe_nchan(2, $rate, $streams, 2)->{cpu_us_per_event};
		}
		my $name = "$rate events/s to $streams streams";
		compare($name, 'CPU per event', 'one plain write per event', '<= 1.15', 'us', $cost{changefeed}, $cost{plain});
		compare($name, 'CPU per event', 'nchan', '<= 1.15', 'us', $cost{changefeed}, $cost{nchan});
	}
	return;
}

sub raw_latency
{
	my ($rate) = @_;
	sql(q{SELECT pg_create_logical_replication_slot('raw', 'pgoutput')});
	my $client = start_program('ready', "$bin/raw_client", '--conninfo', '', '--slot', 'raw', '--seconds', 3, '--column', 1);
	keep_apart($client) if $Bench::apart;
	my $writer = start_writer(rate => $rate);
	my $out = $client->{out};
	my $result = decode_json(scalar <$out>);
	stop($client);
	stop_writer($writer);
	drop_slots('raw');
	return $result->{latency_us};
}

sub node_latency
{
	my ($rate, $streams) = @_;
	sql(q{SELECT pg_create_logical_replication_slot('node', 'pgoutput')});
	my $node = start_node(slot => 'node');
	my $seen;
	if ($node)
	{
		my $client = load_client($node, connections => $streams);
		my $writer = start_writer(rate => $rate);
		$seen = observe($client, 2);
		stop_writer($writer);
		stop($client);
		stop($node);
	}
	drop_slots('node');
	return $seen && $seen->{latency};
}

sub latency
{
	for my $streams (1, 100)
	{
		local $Bench::apart = $streams > 1;
		my (%of_changefeed, %of_raw, %of_both);
		for my $repetition (1 .. $repetitions)
		{
			my $changefeed = observe_changefeed(2, 500, 1, $streams)->{latency};
			my $raw = raw_latency(500);
			# what a hundred writes and a hundred reads take by themselves, from the moment before the first
			my $plain = observe_plain(2, $streams, undef, '--rate', 500)->{latency};
			for my $quantile (qw(p50 p99))
			{
				push @{$of_changefeed{$quantile}}, $changefeed->{$quantile} / 1000;
				push @{$of_raw{$quantile}}, $raw->{$quantile} / 1000;
				push @{$of_both{$quantile}}, ($raw->{$quantile} + $plain->{$quantile}) / 1000;
			}
		}
		my $name = "commit to client, $streams streams, 500/s";
		limit("$name: p50", 'bare libpq client', 0.1, 'ms', $of_changefeed{p50}, $of_raw{p50});
		limit("$name: p50", 'the same + plain writes', 0.1, 'ms', $of_changefeed{p50}, $of_both{p50});
		limit("$name: p99", 'bare libpq client', 1, 'ms', $of_changefeed{p99}, $of_raw{p99});
	}
	local $Bench::apart = 1;
	my %of;
	for my $repetition (1 .. $repetitions)
	{
		my %seen = (changefeed => observe_changefeed(2, 100, 1, 1000)->{latency}, nchan => observe_nchan(2, 100, 1000)->{latency}, node => node_latency(100, 1000));
		for my $who (grep { $seen{$_} } keys %seen)
		{
			push @{$of{$who}{$_}}, $seen{$who}{$_} / 1000 for qw(p50 p99);
		}
	}
	for my $who (grep { $of{$_} } qw(nchan node))
	{
		compare("commit to client, 1,000 streams, 100/s: $_", 'time', $who, '<= 1', 'ms', $of{changefeed}{$_}, $of{$who}{$_}) for qw(p50 p99);
	}
	return;
}

# ---- from the WAL to one client

sub wal
{
	my $changes = 200_000;
	my (%seconds, %peak);
	for my $repetition (1 .. $repetitions)
	{
		my %ring = (ring => 'wal_ring', slot => 'wal');
		stop(changefeed(%ring));
		sql(q{SELECT pg_create_logical_replication_slot('node', 'pgoutput')});
		sql("INSERT INTO bench_0 SELECT $seq + i, 0, repeat('x', $PAYLOAD) FROM generate_series(0, $changes - 1) i");
		$seq += $changes;
		my $changefeed = changefeed(%ring);
		my $client = load_client($changefeed, path => '/cdc/bench_0?since_lsn=earliest', expect => $changes);
		push @{$seconds{changefeed}}, Bench::read_mark($client)->{last_us} / 1e6 - Bench::replication_started('wal');
		push @{$peak{changefeed}}, (anonymous_kb($changefeed->{feed}) + anonymous_kb($changefeed->{workers}[0])) / 1024;
		stop($client);
		stop($changefeed);
		if (my $node = start_node(slot => 'node', wait_for_client => 1))
		{
			my $client_of_node = load_client($node, expect => $changes);
			push @{$seconds{node}}, Bench::read_mark($client_of_node)->{last_us} / 1e6 - Bench::replication_started('node');
			push @{$peak{node}}, (Bench::slurp("/proc/$node->{pid}/status") =~ /^VmHWM:\s+(\d+)/m)[0] / 1024;
			stop($client_of_node);
			stop($node);
		}
		drop_slots('node', 'wal');
		truncate_tables();
		unlink "$dir/wal_ring";
	}
	return if !$seconds{node};
	compare('200k waiting changes to one client', 'speed', 'Node bridge', '>= 2.5', 'seconds', $seconds{node}, $seconds{changefeed});
	note_line(sprintf('memory afterwards %.0f MB, the bridge at its peak %.0f MB', median(@{$peak{changefeed}}), median(@{$peak{node}})));
	return;
}

# ---- memory

sub idle_kb
{
	my ($server, $path) = @_;
	my $streams = 2000;
	my $pid = $server->{workers}[0];
	my $first = load_client($server, connections => 50, path => $path);
	my $before = anonymous_kb($pid);
	my $client = load_client($server, connections => $streams, path => $path);
	sleep(0.5);
	my $kb = (anonymous_kb($pid) - $before) / $streams;
	stop($client);
	stop($first);
	stop($server);
	return $kb;
}

sub idle
{
	my %kb;
	for my $repetition (1 .. $repetitions)
	{
		my $port = Bench::free_port();
		my $minimal = start_program(undef, "$bin/h2o_idle_server", $port);
		@$minimal{qw(port workers)} = ($port, [$minimal->{pid}]);
		wait_until(sub { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) }, 'the minimal server listens');
		push @{$kb{libh2o}}, idle_kb($minimal, '/');
		push @{$kb{changefeed}}, idle_kb(changefeed(), '/cdc/bench_0');
		push @{$kb{nchan}}, idle_kb(start_nchan(), '/subscribe');
	}
	sql(q{SELECT pg_create_logical_replication_slot('node', 'pgoutput')});
	my $node = start_node(slot => 'node');
	push @{$kb{node}}, idle_kb($node, '/') if $node;
	limit('memory of an idle stream', 'minimal libh2o', 0.5, 'kB', $kb{changefeed}, $kb{libh2o});
	compare('memory of an idle stream', 'memory', $_, '<= 1', 'kB', $kb{changefeed}, $kb{$_}) for grep { $kb{$_} } qw(nchan node);
	drop_slots('node');
	return;
}

# ---- history

sub fill_history
{
	my ($changefeed, $changes, $payload) = @_;
	my $before = metrics($changefeed)->{changes_total};
	$payload //= $PAYLOAD;
	sql("INSERT INTO bench_0 SELECT $seq + i, 0, repeat('x', $payload) FROM generate_series(0, $changes - 1) i");
	$seq += $changes;
	wait_until(sub { metrics($changefeed)->{changes_total} >= $before + $changes }, 'the changes are in the ring', 300);
	return;
}

# Events for a second of the worker's CPU, in millions, until `streams` streams each have `changes`.
sub replay_speed
{
	my ($server, $path, $streams, $changes) = @_;
	my $before = pids_cpu($server->{workers}[0]);
	my $client = load_client($server, path => $path, connections => $streams, expect => $changes);
	my $mark = Bench::read_mark($client);
	my $speed = $mark->{events} / (pids_cpu($server->{workers}[0]) - $before);
	stop($client);
	die "bench: replay lost or doubled changes\n" if $mark->{gaps} || $mark->{duplicates};
	return $speed;
}

# The same for a server that may hold less than it was given: until nothing more comes.
sub settled_speed
{
	my ($server, $path) = @_;
	my $before = pids_cpu($server->{workers}[0]);
	my $client = load_client($server, path => $path);
	my ($events, $cpu, $mark) = (-1);
	while (1)
	{
		$cpu = pids_cpu($server->{workers}[0]) - $before;
		$mark = mark($client);
		last if $mark->{events} == $events;
		$events = $mark->{events};
		sleep(0.3);
	}
	stop($client);
	return $events / $cpu;
}

sub stop_at_its_end
{
	my ($program) = @_;
	my $out = $program->{out};
	my $line = <$out>;
	stop($program);
	return $line;
}

sub replay
{
	my $changefeed = changefeed(ring_size => '1GB');
	my $nchan = start_nchan(buffer => 100_000);
	fill_history($changefeed, 1_000_000);
	# nchan numbers the messages of a second with 16 bits
	decode_json(stop_at_its_end(start_publisher($nchan, rate => 20_000, seconds => 4)));
	my %speed;
	for my $repetition (1 .. $repetitions)
	{
		push @{$speed{one}}, replay_speed($changefeed, '/cdc/bench_0?since_lsn=earliest', 1, 1_000_000);
		push @{$speed{hundred}}, replay_speed($changefeed, '/cdc/bench_0?since_lsn=earliest', 100, 100_000);
		push @{$speed{nchan}}, settled_speed($nchan, '/replay');
	}
	stop($nchan);
	stop($changefeed);
	truncate_tables();
	compare('replay of 1M changes to one stream', 'events per CPU second', 'nchan', '>= 1', 'M', $speed{one}, $speed{nchan});
	compare('replay of 1M changes to one stream', 'M events per CPU second', 'one million', '>= 1', 'M', $speed{one}, [1]);
	compare('replay of 100k changes to 100 streams', 'events per CPU second', 'replay to one stream', '>= 1', 'M', $speed{hundred}, $speed{one});
	return;
}

sub requests_per_second
{
	my ($url, $accept) = @_;
	my $out = `wrk -t1 -c16 -d1 -H 'Accept: $accept' '$url'`;
	return $out =~ m{Requests/sec:\s+([\d.]+)} ? $1 : die "bench: wrk: $out\n";
}

sub poll
{
	if (system('wrk -v >/dev/null 2>&1') == -1 || !grep { -x "$_/wrk" } split /:/, $ENV{PATH})
	{
		note_line('poll: left out, wrk is not installed');
		return;
	}
	my $changefeed = changefeed();
	my $nchan = start_nchan();
	fill_history($changefeed, 20_000);
	mkdir "$dir/static";
	chmod 0755, "$dir/static";
	for my $case ([100, 'application/json', 'JSON'], [100, 'application/msgpack', 'MessagePack'], [10_000, 'application/json', 'JSON'], [10_000, 'application/msgpack', 'MessagePack'])
	{
		my ($limit, $accept, $name) = @$case;
		my $url = "http://127.0.0.1:$changefeed->{port}/cdc/bench_0/poll?since_lsn=earliest&limit=$limit";
		my $answer = HTTP::Tiny->new->get($url, {headers => {Accept => $accept}});
		Bench::spew("$dir/static/$limit.$name", $answer->{content});
		my (@changefeed, @nginx);
		for my $repetition (1 .. $repetitions)
		{
			push @changefeed, requests_per_second($url, $accept);
			push @nginx, requests_per_second("http://127.0.0.1:$nchan->{port}/static/$limit.$name", $accept);
		}
		compare("poll of $limit changes, $name", 'requests/s', 'nginx, static file', '>= 0.7', '/s', \@changefeed, \@nginx);
	}
	stop($nchan);
	stop($changefeed);
	truncate_tables();
	return;
}

sub filtered
{
	my (@alone, @beside);
	sql('CREATE TABLE busy (seq bigint, sent_us bigint, pad text); ALTER PUBLICATION changefeed ADD TABLE busy');
	for my $repetition (1 .. $repetitions)
	{
		for my $busy (0, 1)
		{
			my $changefeed = changefeed();
			my $client = load_client($changefeed, connections => 100, path => '/cdc/bench_0');
			my $writer = start_writer(rate => 100);
			my $other = $busy ? start_program(undef, 'psql', '-X', '-q', '-f',
				Bench::spew("$dir/busy.sql", "INSERT INTO busy SELECT i, 0, repeat('x', $PAYLOAD) FROM generate_series(0, 499) i; SELECT pg_sleep(0.02) \\g /dev/null\n" x 1000)) : undef;
			push @{$busy ? \@beside : \@alone}, observe($client, 2)->{cpu_us_per_event};
			stop($other) if $other;
			stop_writer($writer);
			stop($client);
			stop($changefeed);
			truncate_tables();
		}
	}
	compare('100 streams of a quiet table beside a busy one', 'CPU per event', 'alone', '<= 1.1', 'us', \@beside, \@alone);
	return;
}

sub start
{
	my %ring = (ring => 'start_ring', slot => 'start', ring_size => '1GB');
	my $changefeed = changefeed(%ring);
	my $full = wait_until_full($changefeed);
	my @milliseconds;
	for my $repetition (1 .. $repetitions)
	{
		stop($changefeed, 'KILL');
		my $begin = time;
		$changefeed = changefeed(%ring, wait => 0);
		my $url = "http://127.0.0.1:$changefeed->{port}/cdc/bench_0/poll?limit=1";
		wait_until(sub { HTTP::Tiny->new(timeout => 1)->get($url)->{success} }, 'a poll is answered');
		push @milliseconds, (time - $begin) * 1000;
	}
	stop($changefeed);
	limit(sprintf('start with %d MB of history after kill -9', $full / 1e6), 'goal', 200, 'ms', \@milliseconds, [0]);
	truncate_tables();
	drop_slots('start');
	unlink "$dir/start_ring";
	return;
}

sub wait_until_full
{
	my ($changefeed) = @_;
	my $retained = 0;
	for (1 .. 20)
	{
		sql("INSERT INTO bench_0 SELECT $seq + i, 0, repeat('x', 1500) FROM generate_series(0, 49999) i");
		$seq += 50_000;
		my $end = sql('SELECT count(*) FROM bench_0');
		wait_until(sub { metrics($changefeed)->{changes_total} >= $end }, 'the changes are in the ring');
		my $now = metrics($changefeed)->{ring_retained_bytes};
		last if $now > 0.97 * (1 << 30);
		$retained = $now;
	}
	return metrics($changefeed)->{ring_retained_bytes};
}

1;
