# Bench: what the rows of the benchmark share: programs, a PostgreSQL, pg_changefeed, its peers, and numbers.
#
# In: the source tree. Out: running processes with their ports, and marks of load_client. Everything lives in one
# temporary directory and on 127.0.0.1, and ends with the script. Only processes started here are ever signalled.
package Bench;

use strict;
use warnings;

use Cwd qw(abs_path);
use Exporter qw(import);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use HTTP::Tiny;
use IO::Select;
use IO::Socket::INET;
use IPC::Open2 qw(open2);
use JSON::PP;
use POSIX ();
use Time::HiRes qw(time sleep);

our @EXPORT = qw(median wait_until build start_postgres sql sql_file changefeed drop_slots metrics start_nchan start_program
	start_node load_client keep_apart mark rates stop_all stop pids_cpu anonymous_kb say_line $root $dir $bin);

our $root = abs_path(dirname(__FILE__) . '/../..');
our $dir;    # temporary
our $bin;    # the C programs of bench/
our $apart;  # clients and workers each have a processor, as if the clients were on another machine
our ($pg_bindir, $program, @as_user, @stop_at_end);
my $node_dir;

sub say_line { print @_, "\n"; STDOUT->flush; return; }

sub median { my @sorted = sort { $a <=> $b } @_; return $sorted[$#sorted / 2]; }

sub wait_until
{
	my ($condition, $what, $seconds) = @_;
	my $deadline = time + ($seconds // 60);
	while (1)
	{
		my $result = $condition->();
		return $result if $result;
		die "bench: $what: not within time\n" if time > $deadline;
		sleep(0.005);
	}
}

sub run
{
	system(@_) == 0 or die "bench: @_ failed\n";
	return;
}

# None that the kernel gives to a client that connects: those are from 32768 on (ip_local_port_range).
sub free_port
{
	for my $port (map { 20_000 + ($$ + $_) % 12_000 } 1 .. 12_000)
	{
		return $port if IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 1);
	}
	die "bench: no port: $!\n";
}

sub spew
{
	my ($name, $text) = @_;
	open my $file, '>', $name or die "bench: $name: $!\n";
	print $file $text;
	close $file or die "bench: $name: $!\n";
	return $name;
}

sub slurp
{
	my ($name) = @_;
	open my $file, '<', $name or return '';
	local $/ = undef;
	return scalar <$file> // '';
}

# ---- programs

sub build
{
	my $config = $ENV{PG_CONFIG} // 'pg_config';
	chomp($pg_bindir = `$config --bindir`);
	chomp(my $include = `$config --includedir`);
	$dir = tempdir('pg_changefeed_bench.XXXXXX', TMPDIR => 1, CLEANUP => 1);
	chmod 0755, $dir;
	@as_user = $> == 0 ? ('runuser', '-u', 'postgres', '--') : ();
	$bin = "$dir/bin";
	mkdir $bin;
	my @flags = qw(-std=gnu11 -O2 -g -D_GNU_SOURCE -DH2O_USE_LIBUV=0 -Wall -Wextra -Wmissing-prototypes -Wshadow=local);
	for my $name (qw(load_client raw_client write_load plain_server h2o_idle_server))
	{
		run($ENV{CC} // 'cc', @flags, "-I$include", '-o', "$bin/$name", "$root/bench/$name.c", qw(-lpq -lh2o-evloop -lssl -lcrypto));
	}
	$program = $ENV{PG_CHANGEFEED_PROGRAM};
	if (!$program)
	{
		local %ENV = %ENV;
		delete @ENV{qw(MAKEFLAGS MAKELEVEL MFLAGS)};
		run('make', '-s', '-C', $root, "BUILD=$dir/build", "$dir/build/pg_changefeed");
		$program = "$dir/build/pg_changefeed";
	}
	return;
}

# Starts a program with pipes. With `ready`: waits until it prints that.
sub start_program
{
	my ($ready, @command) = @_;
	my $pid = open2(my $out, my $in, @command);
	my $process = {pid => $pid, in => $in, out => $out, name => $command[0]};
	push @stop_at_end, $process;
	if ($ready)
	{
		my $line = <$out>;
		defined $line && $line =~ /^$ready/ or die "bench: $command[0] did not start\n";
	}
	return $process;
}

sub stop
{
	my ($process, $signal) = @_;
	return if !$process->{pid};
	close $process->{in} if $process->{in};
	kill($signal // 'TERM', $process->{pid});
	my $rest = do { local $/ = undef; my $out = $process->{out}; <$out> };
	waitpid($process->{pid}, 0);
	$process->{pid} = 0;
	@stop_at_end = grep { $_ != $process } @stop_at_end;
	return $rest;
}

sub stop_all
{
	stop($_) for reverse @stop_at_end;
	return;
}

sub pids_cpu    # microseconds
{
	my $sum = 0;
	for my $pid (@_)
	{
		for my $file (glob("/proc/$pid/task/*/schedstat"))
		{
			$sum += (split ' ', slurp($file))[0] // 0;
		}
	}
	return $sum / 1000;
}

sub anonymous_kb
{
	my ($pid) = @_;
	return slurp("/proc/$pid/smaps_rollup") =~ /^Anonymous:\s+(\d+)/m ? $1 : 0;
}

# ---- PostgreSQL
my $postgres;

sub start_postgres
{
	my $data = "$dir/pg";
	mkdir $data;
	run('chown', 'postgres', $data) if $> == 0;
	chdir $dir;
	run("@as_user $pg_bindir/initdb -D $data/data -U postgres -A trust -N --no-locale -E UTF8 >$dir/initdb.log");
	my $conf = spew("$dir/bench.conf", <<"CONF");
listen_addresses = ''
unix_socket_directories = '$data'
wal_level = logical
max_wal_size = 8GB
shared_buffers = 512MB
max_replication_slots = 20
max_wal_senders = 20
autovacuum = off
checkpoint_timeout = 1h
log_replication_commands = on
log_line_prefix = '%n %p '
synchronous_commit = on
CONF
	run("@as_user tee -a $data/data/postgresql.conf <$conf >/dev/null");
	run("@as_user $pg_bindir/pg_ctl -D $data/data -l $data/log -s -w start");
	$postgres = $data;
	%ENV = (%ENV, PGHOST => $data, PGUSER => 'postgres', PGDATABASE => 'postgres', PGPORT => 5432);
	sql('CREATE PUBLICATION changefeed');
	return;
}

sub sql
{
	my ($sql) = @_;
	open my $psql, '-|', "$pg_bindir/psql", qw(-X -A -t -q -v ON_ERROR_STOP=1 -c), $sql or die "bench: psql: $!\n";
	my $out = do { local $/ = undef; <$psql> };
	close $psql or die "bench: SQL failed: $sql\n";
	chomp $out if defined $out;
	return $out;
}

# Several commands, each in its own transaction.
sub sql_file
{
	my ($sql) = @_;
	run("$pg_bindir/psql", qw(-X -q -v ON_ERROR_STOP=1 -f), spew("$dir/commands.sql", $sql));
	return;
}

# A consumer that ended may hold its slot for a moment longer.
sub drop_slots
{
	my $names = join ', ', map { "'$_'" } @_;
	wait_until(sub { sql("SELECT count(*) FROM pg_replication_slots WHERE active AND slot_name IN ($names)") eq '0' }, 'the slots are free');
	sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name IN ($names)");
	return;
}

# When START_REPLICATION for a slot last reached the server: seconds since 1970.
sub replication_started
{
	my ($slot) = @_;
	my @found = slurp("$postgres/log") =~ /^([\d.]+) \d+ .*replication command: START_REPLICATION SLOT "?$slot"?\s/mg;
	return $found[-1];
}

# ---- pg_changefeed

# Starts it. Options: slot, ring_size, threads, ring (name of the file), wait (0: not until it is ready). Without a slot of its
# own it has also read what earlier rows left in the WAL, so that nothing but new changes is measured.
sub changefeed
{
	my (%option) = @_;
	my $port = free_port();
	my $name = $option{ring} // 'ring';
	my $threads = $option{threads} // 1;
	my $conf = spew("$dir/h2o.conf", <<"CONF");
listen:
  host: 127.0.0.1
  port: $port
num-threads: $threads
max-connections: 100000
hosts:
  default:
    paths:
      "/cdc":
        changefeed: ON
CONF
	my $process = start_program(undef, 'sh', '-c', 'exec "$@" 2>>"$0"', "$dir/changefeed.log", $program, '--config', $conf, '--ring-file', "$dir/$name",
		'--ring-size', $option{ring_size} // '256MB', '--slot', $option{slot} // 'changefeed');
	@$process{qw(port threads)} = ($port, $threads);
	find_children($process) if $option{wait} // 1;
	catch_up($process) if !$option{slot};
	return $process;
}

sub catch_up
{
	my ($process) = @_;
	my ($high, $low) = map { hex } split m{/}, sql('SELECT pg_current_wal_insert_lsn()');
	wait_until(sub { metrics($process)->{streamed_lsn} >= ($high << 32) + $low - 64 }, 'the feed has read the WAL');
	return;
}

sub find_children
{
	my ($process) = @_;
	wait_until(sub { HTTP::Tiny->new(timeout => 1)->get("http://127.0.0.1:$process->{port}/readyz")->{success} }, 'pg_changefeed is ready');
	my @children = split ' ', slurp("/proc/$process->{pid}/task/$process->{pid}/children");
	# the feed is the one with a thread for the disk
	my $threads = sub { my @tasks = glob("/proc/$_[0]/task/*"); scalar @tasks };
	($process->{feed}) = grep { $threads->($_) > 1 } @children;
	$process->{workers} = [grep { $threads->($_) == 1 } @children];
	return;
}

sub metrics
{
	my ($process) = @_;
	my $answer = HTTP::Tiny->new(timeout => 5)->get("http://127.0.0.1:$process->{port}/metrics");
	return {$answer->{content} =~ /^pg_changefeed_(\w+) (\d+)$/mg};
}

# ---- peers
sub start_nchan
{
	my (%option) = @_;
	my $port = free_port();
	my $length = $option{buffer} // 10000;
	my $conf = spew("$dir/nginx.conf", <<"CONF");
load_module /usr/lib/nginx/modules/ngx_nchan_module.so;
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid $dir/nginx.pid;
error_log $dir/nginx.log;
events { worker_connections 15000; }
http {
	access_log off;
	client_body_temp_path $dir/nginx_body;
	keepalive_requests 100000000;
	keepalive_timeout 1h;
	nchan_shared_memory_size 1500M;
	nchan_message_timeout 1h;
	server {
		listen 127.0.0.1:$port backlog=4096;
		location = /publish { nchan_publisher; nchan_channel_id bench; nchan_message_buffer_length $length; }
		location = /subscribe { nchan_subscriber eventsource; nchan_channel_id bench; nchan_subscriber_first_message newest; }
		location = /replay { nchan_subscriber eventsource; nchan_channel_id bench; nchan_subscriber_first_message oldest; }
		location /static/ { alias $dir/static/; }
	}
}
CONF
	mkdir "$dir/nginx_body";
	my $process = start_program(undef, 'nginx', '-c', $conf, '-p', $dir);
	$process->{port} = $port;
	wait_until(sub { HTTP::Tiny->new(timeout => 1)->get("http://127.0.0.1:$port/static/none")->{status} == 404 }, 'nginx is ready');
	my $children = "/proc/$process->{pid}/task/$process->{pid}/children";
	$process->{workers} = [grep { slurp("/proc/$_/cmdline") =~ /worker process/ } split ' ', slurp($children)];
	return $process;
}

# The bridge, or undef if its packages cannot be had.
sub start_node
{
	my (%option) = @_;
	if (!$node_dir)
	{
		$node_dir = "$dir/node";
		mkdir $node_dir;
		run('cp', "$root/bench/node_bridge.js", $node_dir);
		system("cd $node_dir && npm install --silent --no-audit --no-fund pg-logical-replication\@2 >npm.log 2>&1") == 0 or $node_dir = 'none';
	}
	return if $node_dir eq 'none';
	my $port = free_port();
	local %ENV = (%ENV, PORT => $port, SLOT => $option{slot}, PUBLICATION => 'changefeed', $option{wait_for_client} ? (WAIT_FOR_CLIENT => 1) : ());
	my $process = start_program('ready', 'node', "$node_dir/node_bridge.js");
	$process->{port} = $port;
	$process->{workers} = [$process->{pid}];
	return $process;
}

# ---- load

# Left to itself the scheduler puts a client on the processor of the worker that wakes it, at times for seconds, and there it waits
# until everybody else has been sent to.
sub keep_apart
{
	my ($client, @workers) = @_;
	my ($list) = slurp('/proc/self/status') =~ /^Cpus_allowed_list:\s+(\S+)/m;
	my @processors = map { my ($from, $to) = split /-/, $_; $from .. ($to // $from) } split /,/, $list;
	return if @processors < 2;
	my %processor = ($client->{pid} => $processors[0], map { $_ => $processors[1] } @workers);
	system("taskset -apc $processor{$_} $_ >/dev/null") == 0 or die "bench: taskset\n" for keys %processor;
	return;
}

# Streams of one server, all answered. Options: connections, parse, expect, path, spread.
sub load_client
{
	my ($server, %option) = @_;
	my @pids = (@{$server->{workers}}, $server->{feed} // ());
	my $client = start_program($option{expect} ? undef : 'ready', "$bin/load_client", '--port', $server->{port}, '--path', $option{path} // '/', '--connections', $option{connections} // 1,
		(map { ('--pid', $_) } @pids), (map { ("--$_", $option{$_}) } grep { defined $option{$_} } qw(parse expect spread)));
	$client->{workers} = scalar @{$server->{workers}};
	$client->{connections} = $option{connections} // 1;
	keep_apart($client, @{$server->{workers}}) if $apart;
	return $client;
}

sub mark
{
	my ($client) = @_;
	syswrite($client->{in}, "\n");
	return read_mark($client);
}

sub read_mark
{
	my ($client) = @_;
	my $out = $client->{out};
	while (defined(my $line = <$out>))
	{
		return decode_json($line) if $line =~ /^\{/;
	}
	die "bench: load_client ended\n";
}

# What happened between two marks: events of all streams, those that were only counted by their bytes included.
sub rates
{
	my ($client, $from, $to) = @_;
	my $seconds = ($to->{time_us} - $from->{time_us}) / 1e6;
	my $parsed_bytes = $to->{parsed_bytes} - $from->{parsed_bytes};
	my $parsed = $to->{events} - $from->{events};
	my $events = $parsed_bytes > 0 ? ($to->{bytes} - $from->{bytes}) * $parsed / $parsed_bytes : 0;
	my $cpu = 0;
	$cpu += $to->{cpu_us}[$_] - $from->{cpu_us}[$_] for 0 .. $client->{workers} - 1;
	return {
		seconds => $seconds,
		events => $events,
		per_second => $events / $seconds,
		cpu_share => $cpu / 1e6 / $seconds,
		cpu_us_per_event => $events > 0 ? $cpu / $events : 0,
		per_cpu_second => $cpu > 0 ? $events / ($cpu / 1e6) : 0,
		bytes_per_event => $parsed > 0 ? $parsed_bytes / $parsed : 0,
		(map { $_ => $to->{$_} - $from->{$_} } qw(gaps duplicates warnings closed)),
		latency => $to->{latency_us},
	};
}

END { my $status = $?; stop_all(); if ($postgres) { system(@as_user, "$pg_bindir/pg_ctl", '-D', "$postgres/data", qw(-s -m immediate stop)) } chdir '/'; $? = $status; }
$SIG{INT} = $SIG{TERM} = $SIG{HUP} = sub { exit 1 };
$SIG{PIPE} = 'IGNORE';

1;
