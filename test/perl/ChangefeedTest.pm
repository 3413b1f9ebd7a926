# ChangefeedTest: a PostgreSQL of its own for each test, with pg_changefeed in it, and what tests ask it.
#
#   use ChangefeedTest;
#   my $server = ChangefeedTest->start(changefeed => {heartbeat => 1});
#   $server->publish('users', 'id text PRIMARY KEY, name text');
#   my $stream = $server->stream('/cdc/users');
#   $server->sql("INSERT INTO users VALUES ('u1', 'Ann')");
#   is($stream->event->{json}{document_id}, 'u1', 'the insert arrives');
#   done_testing();
#
# The server lives in a temporary directory, listens on a Unix socket in it only, and is removed when the test
# ends, however it ends. A test started by root goes on as an unprivileged user (postgres, or
# CHANGEFEED_TEST_USER), for PostgreSQL does not run as root. Needs nothing but Perl's own modules and the
# PostgreSQL of PG_CONFIG with pg_changefeed installed in it.
#
# Nothing here sleeps to let something happen: wait_for() asks for a state until a deadline.
package ChangefeedTest;

use strict;
use warnings;

use Cwd qw(abs_path);
use Exporter qw(import);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use HTTP::Tiny;
use IO::Socket::INET;
use JSON::PP;
use List::Util qw(sum0);
use POSIX ();
use Test::More;
use Time::HiRes qw(time);

use ChangefeedTest::Session;
use ChangefeedTest::Stream;

# A test that hangs all the same is ended.
use constant TEST_SECONDS => $ENV{CHANGEFEED_TEST_SECONDS} // 300;

our @EXPORT = qw(wait_for free_port run_command slurp spew process_alive json_text);

# How long a state is waited for before a test fails. Generous: it is only spent by tests that fail.
use constant DEADLINE => $ENV{CHANGEFEED_TEST_DEADLINE} // 30;

our $root;
my @servers;

sub become_unprivileged
{
	return if $> != 0;
	for my $name ($ENV{CHANGEFEED_TEST_USER} // (), 'postgres', 'nobody')
	{
		my (undef, undef, $uid, $gid, undef, undef, undef, $home) = getpwnam($name) or next;
		$) = "$gid $gid";
		POSIX::setgid($gid);
		POSIX::setuid($uid);
		$ENV{HOME} = $home;    # libpq looks for certificates in it
		-r $root && -x $root or BAIL_OUT("user $name cannot read $root: run scripts/test, which works on a copy");
		return;
	}
	BAIL_OUT('no unprivileged user (postgres, nobody) to run PostgreSQL as');
}

BEGIN
{
	$root = abs_path(dirname(__FILE__) . '/../..');

	# PostgreSQL's programs take defaults from these, which must not leak in from the one who runs the test.
	delete @ENV{grep { /^PG(?!_CONFIG$)/ } keys %ENV};
	$ENV{LC_ALL} = 'C';
	delete @ENV{qw(http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY)};
	become_unprivileged();
	binmode(Test::More->builder->$_, ':encoding(UTF-8)') for qw(output failure_output todo_output);
	$SIG{INT} = $SIG{TERM} = $SIG{HUP} = sub { exit 1 };
	$SIG{PIPE} = 'IGNORE';
	$SIG{ALRM} = sub { die "the test takes longer than " . TEST_SECONDS . " seconds\n" };
	alarm(TEST_SECONDS);
}

# ---- small helpers -------------------------------------------------------------------------------------------

# Calls $condition until it is true and returns what it gave; after the deadline fails the test and returns nothing.
sub wait_for
{
	my ($condition, $what, $seconds) = @_;
	my $deadline = time + ($seconds // DEADLINE);
	while (1)
	{
		my $result = $condition->();
		return $result if $result;
		last if time > $deadline;
		select(undef, undef, undef, 0.02);
	}
	fail("waited in vain: $what") if defined $what;
	return;
}

# Below the ports that the kernel gives to clients (ip_local_port_range): a crowd's connection would take it before the server
# does. Where it begins to look differs between processes, so that two do not find the same.
my $next_port = 13 * $$;

sub free_port
{
	for (1 .. 1000)
	{
		my $port = 20_000 + $next_port++ % 12_000;
		return $port if IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 1);
	}
	die "no free port: $!";
}

# Runs a program without a shell; returns its exit status (128 + signal if killed) and all it wrote.
sub run_command
{
	my (@command) = @_;
	my $pid = open(my $output, '-|') // die "fork: $!";
	if ($pid == 0)
	{
		open(STDIN, '<', '/dev/null');
		open(STDERR, '>&', \*STDOUT);
		chdir '/';
		exec { $command[0] } @command or POSIX::_exit(127);
	}
	local $/;
	my $text = <$output> // '';
	close($output);
	my $status = $? & 127 ? 128 + ($? & 127) : $? >> 8;
	return wantarray ? ($status, $text) : $status;
}

sub slurp
{
	my ($path) = @_;
	open(my $file, '<', $path) or return '';
	local $/;
	return scalar(<$file>) // '';
}

sub spew
{
	my ($path, $text) = @_;
	open(my $file, '>', $path) or die "$path: $!";
	print $file $text;
	close($file) or die "$path: $!";
	return $path;
}

# True while the process runs; a zombie is not alive.
sub process_alive
{
	my ($pid) = @_;
	return slurp("/proc/$pid/stat") =~ /\) ([A-Z])/ && $1 !~ /[ZX]/;
}

my $json = JSON::PP->new->utf8->allow_nonref->allow_bignum->canonical;

sub json_text { return $json->encode($_[0]); }

# ---- the server ----------------------------------------------------------------------------------------------

# Options: changefeed (of h2o.conf's directive), h2o (its other top-level keys), postgresql (settings),
# extension (0: neither preloaded nor created).
sub new
{
	my ($class, %option) = @_;
	my $dir = tempdir('changefeed_XXXXXX', TMPDIR => 1, CLEANUP => !$ENV{CHANGEFEED_TEST_KEEP});
	my $bindir = (run_command('/bin/sh', '-c', '"${PG_CONFIG:-pg_config}" --bindir'))[1];
	chomp $bindir;
	my $self = bless {
		dir => $dir,
		data => "$dir/data",
		log => "$dir/postgresql.log",
		config_file => "$dir/h2o.conf",
		bindir => $bindir,
		extension => $option{extension} // 1,
		owner => $$,
		database => 'postgres',
		http_port => free_port(),
	}, $class;

	$self->{h2o} = {
		'num-threads' => 2,
		listen => [{host => '127.0.0.1', port => $self->{http_port}}],
		hosts => {default => {paths => {'/cdc' => {changefeed => $option{changefeed} // 'ON'}}}},
		%{$option{h2o} // {}},
	};
	$self->{postgresql} = {
		listen_addresses => '',
		unix_socket_directories => $dir,
		wal_level => 'logical',
		fsync => 'off',
		max_prepared_transactions => 5,
		log_line_prefix => '%m [%p] %q%a ',
		$self->{extension}
		? (shared_preload_libraries => 'pg_changefeed', 'changefeed.config_file' => $self->{config_file},
			'changefeed.ring_size' => '16MB')
		: (),
		%{$option{postgresql} // {}},
	};

	my ($status, $output) = run_command("$bindir/initdb", '-D', $self->{data}, '-U', 'postgres', '-A', 'trust', '-N',
		'--locale=C', '--encoding=UTF8');
	$status == 0 or die "initdb: $output";
	# The feed connects as the operating system's user, who is not always postgres.
	my $user = getpwuid($>);
	($status, $output) = run_command('/bin/sh', '-c', 'echo "CREATE ROLE \"$1\" SUPERUSER LOGIN REPLICATION" | "$2" --single -D "$3" postgres',
		'sh', $user, "$bindir/postgres", $self->{data}) if $user ne 'postgres';
	$status == 0 or die "CREATE ROLE: $output";
	$self->configure;
	$self->write_h2o_conf;
	push @servers, $self;
	return $self;
}

# new, then a running server with the extension that streams.
sub start
{
	my ($class, %option) = @_;
	my $self = $class->new(%option);
	$self->begin;
	return $self;
}

# The same for one that new() made and that was configured further since.
sub begin
{
	my ($self) = @_;
	$self->write_h2o_conf;
	$self->pg_start;
	return if !$self->{extension};
	$self->sql('CREATE EXTENSION pg_changefeed');
	$self->wait_ready;
	return;
}

# Writes the settings, with those given now added for good.
sub configure
{
	my ($self, %setting) = @_;
	my $settings = $self->{postgresql};
	@$settings{keys %setting} = values %setting;
	my $text = join('', map { my $value = $settings->{$_}; $value =~ s/'/''/g; "$_ = '$value'\n" } sort keys %$settings);
	spew("$self->{data}/postgresql.auto.conf", $text);
	return;
}

# JSON is YAML: h2o.conf is written from $server->{h2o}, which a test may change before.
sub write_h2o_conf
{
	my ($self, $text) = @_;
	spew($self->{config_file}, $text // JSON::PP->new->canonical->pretty->encode($self->{h2o}));
	return;
}

# pg_ctl's exit status and what it said.
sub pg_ctl
{
	my ($self, @arguments) = @_;
	return run_command("$self->{bindir}/pg_ctl", '-D', $self->{data}, '-l', $self->{log}, '-w', '-t', 60, '-s', @arguments);
}

sub pg_start
{
	my ($self) = @_;
	my ($status, $output) = $self->pg_ctl('start');
	$status == 0 or die "the server does not start: $output\n" . $self->log_tail;
	return;
}

# The same after a kill -9 of the postmaster, whose children hold the data directory until they have noticed.
sub pg_start_again
{
	my ($self) = @_;
	return wait_for(sub { ($self->pg_ctl('start'))[0] == 0 }, 'the server starts again', 2 * DEADLINE);
}

# Returns the exit status of pg_ctl.
sub pg_stop
{
	my ($self, $mode) = @_;
	return ($self->pg_ctl('-m', $mode // 'fast', 'stop'))[0];
}

sub postmaster { return (slurp("$_[0]{data}/postmaster.pid") =~ /^(\d+)/)[0]; }

sub reload
{
	my ($self) = @_;
	$self->sql('SELECT pg_reload_conf()');
	return;
}

sub log { return slurp($_[0]{log}); }

sub log_tail
{
	my @lines = split /\n/, $_[0]->log;
	splice(@lines, 0, @lines - 80) if @lines > 80;
	return join("\n", @lines);
}

# ---- SQL -----------------------------------------------------------------------------------------------------

sub psql_command
{
	my ($self, $database) = @_;
	return ("$self->{bindir}/psql", '-XAtq', '-v', 'ON_ERROR_STOP=1', '-h', $self->{dir}, '-U', 'postgres', '-d', $database // $self->{database});
}

# Runs statements (psql's, so each in its own transaction unless said otherwise) and returns what they print.
sub sql
{
	my ($self, $sql, $database) = @_;
	my $file = File::Temp->new(DIR => $self->{dir});
	print $file $sql;
	close($file);
	my ($status, $output) = run_command($self->psql_command($database), '-f', $file->filename);
	$status == 0 or die "psql: $output\nin: $sql\n";
	chomp $output;
	return $output;
}

# A psql that stays, for transactions that overlap.
sub session
{
	my ($self, $database) = @_;
	return ChangefeedTest::Session->new($self->psql_command($database));
}

# Makes a table and publishes it; returns once it can be subscribed to.
sub publish
{
	my ($self, $table, $columns) = @_;
	$self->sql("CREATE TABLE $table ($columns)") if defined $columns;
	$self->sql("ALTER PUBLICATION changefeed ADD TABLE $table");
	my $collection = $table =~ s/"//gr =~ s/ /%20/gr;
	wait_for(sub { $self->get("/cdc/$collection/poll?since_lsn=now")->{status} == 200 }, "$table can be subscribed to");
	return;
}

# The end of the WAL as a cursor: 'everything committed from now on'.
sub now_lsn { return $_[0]->sql('SELECT pg_current_wal_insert_lsn()'); }

# Returns once everything committed so far is in the ring.
sub wait_for_feed
{
	my ($self) = @_;
	my $seconds = DEADLINE;
	$self->sql("SELECT changefeed.wait_for(pg_current_wal_insert_lsn(), '$seconds s')") eq 't' or fail('waited in vain: the feed reaches the end of the WAL');
	return;
}

# ---- HTTP ----------------------------------------------------------------------------------------------------

sub url { return "http://127.0.0.1:$_[0]{http_port}$_[1]"; }

# One request; returns {status, headers, content, json}. Option: method, headers, timeout.
sub get
{
	my ($self, $path, %option) = @_;
	my $http = HTTP::Tiny->new(timeout => $option{timeout} // DEADLINE, max_redirect => 0, keep_alive => 0);
	my $response = $http->request($option{method} // 'GET', $self->url($path), {headers => $option{headers} // {}});
	$response->{json} = eval { $json->decode($response->{content}) }
	  if ($response->{headers}{'content-type'} // '') =~ /json/;
	return $response;
}

# One poll; dies unless it is answered with 200.
sub poll
{
	my ($self, $path, %option) = @_;
	my $response = $self->get($path, %option);
	$response->{status} == 200 or die "$path: $response->{status} $response->{content}";
	return $response->{json};
}

# Polls from a cursor to the end, `limit` at a time; returns all changes.
sub poll_all
{
	my ($self, $collection, %option) = @_;
	my $cursor = $option{since} // 'earliest';
	my $limit = $option{limit} // 10_000;
	my $more = $option{parameters} // '';
	my @changes;
	while (1)
	{
		my $batch = $self->poll("/cdc/$collection/poll?limit=$limit&since_lsn=$cursor$more");
		push @changes, @{$batch->{changes}};
		$cursor = $batch->{next_cursor}{since_lsn};
		last unless $batch->{has_more};
	}
	return @changes;
}

# An SSE client; see ChangefeedTest::Stream. Options: headers, and port for another listener.
sub stream
{
	my ($self, $path, %option) = @_;
	return ChangefeedTest::Stream->new(port => $self->{http_port}, path => $path, deadline => DEADLINE, %option);
}

# ---- what it says of itself -----------------------------------------------------------------------------------

# A figure of /metrics; -1 if there is none.
sub metric
{
	my ($self, $name) = @_;
	return $self->get('/metrics')->{content} =~ /^pg_changefeed_\Q$name\E (\S+)$/m ? $1 : -1;
}

# Columns of changefeed.status(), as psql prints them.
sub status
{
	my ($self, $columns) = @_;
	return $self->sql("SELECT $columns FROM changefeed.status()");
}

# Up to where the slot is confirmed.
sub confirmed_lsn { return $_[0]->sql(q{SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 'changefeed'}); }

# Waits until that is the end of the WAL as it is now, or a given LSN; false after the deadline.
sub wait_confirmed
{
	my ($self, $lsn) = @_;
	$lsn //= $self->now_lsn;
	return wait_for(sub { $self->sql("SELECT '" . $self->confirmed_lsn . "'::pg_lsn >= '$lsn'") eq 't' }, 'the slot is confirmed');
}

# Waits until the slot would not send again what is committed by now. It forgets what it has confirmed only when it is
# written to disk.
sub make_slot_forget
{
	my ($self) = @_;
	my $lsn = $self->now_lsn;
	return wait_for(sub { $self->sql("CHECKPOINT; SELECT restart_lsn > '$lsn' FROM pg_replication_slots WHERE slot_name = 'changefeed'") eq 't' },
		'the slot forgets');
}

# PostgreSQL starts all its processes again when one of them crashes: nothing of ours may be the reason.
sub never_restarted
{
	my ($self) = @_;
	return unlike($self->log, qr/terminating any other active server processes|PANIC/, 'PostgreSQL never restarted its processes');
}

# Returns once /readyz says that the feed streams.
sub wait_ready
{
	my ($self) = @_;
	return wait_for(sub { $self->get('/readyz')->{status} == 200 }, '/readyz says 200');
}

# ---- processes -----------------------------------------------------------------------------------------------

# {pid => parent} of all processes of the machine.
sub process_parents
{
	my %parent;
	for my $path (glob '/proc/[0-9]*/stat')
	{
		$parent{$1} = $2 if slurp($path) =~ /^(\d+) \(.*\) [^ZX] (\d+)/s;
	}
	return %parent;
}

# Pids of the program's processes that serve this server: {master, feed, workers => [...]}; from what the ring says
# of itself, so that nothing is guessed from names. Without a master there are none: its number is 0 then, which kill() takes
# for a whole group, and which is the parent of what a container was started with.
sub processes
{
	my ($self) = @_;
	my ($master, $feed) = split /\|/, $self->sql('SELECT master_pid, feed_pid FROM changefeed.status()');
	return {workers => []} if !$master;
	my %parent = process_parents();
	my @workers = sort { $a <=> $b } grep { $parent{$_} == $master && $_ != $feed } keys %parent;
	return {master => $master, feed => $feed, workers => \@workers};
}

# Anonymous memory of processes in kB: what they hold beyond mapped files, the ring among them.
sub anonymous_kb
{
	my (@pids) = @_;
	return sum0(map { slurp("/proc/$_/smaps_rollup") =~ /^Anonymous:\s+(\d+) kB/m ? $1 : 0 } @pids);
}

# One more listener, with TLS and a certificate of its own. Returns its port.
sub listen_tls
{
	my ($self, $name) = @_;
	my $port = free_port();
	push @{$self->{h2o}{listen}}, {host => '127.0.0.1', port => $port, ssl => $self->make_certificate($name)};
	return $port;
}

# Makes a certificate for localhost and 127.0.0.1; returns what `ssl` of a listener takes.
sub make_certificate
{
	my ($self, $name) = @_;
	my %ssl = ('certificate-file' => "$self->{dir}/cert.pem", 'key-file' => "$self->{dir}/key.pem");
	my ($status, $output) = run_command('openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', "/CN=$name",
		'-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', $ssl{'key-file'}, '-out', $ssl{'certificate-file'});
	$status == 0 or die "openssl: $output";
	return \%ssl;
}

# ---- programs beside the test ---------------------------------------------------------------------------------

# Runs a program in the background, its output in $dir/$name.out; returns the pid. It is killed when the test ends.
sub background
{
	my ($self, $name, @command) = @_;
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		open(STDIN, '<', '/dev/null');
		open(STDOUT, '>', "$self->{dir}/$name.out");
		open(STDERR, '>&', \*STDOUT);
		exec { $command[0] } @command or POSIX::_exit(127);
	}
	push @{$self->{clients}}, $pid;
	return $pid;
}

# Compiles test/clients/$name.c into the server's directory, with the libraries that its head comment names behind
# ` * links:`; returns the program's path.
sub client_program
{
	my ($self, $name) = @_;
	my $program = "$self->{dir}/$name";
	return $program if -x $program;
	my ($links) = slurp("$root/test/clients/$name.c") =~ /^ \* links: (.*)$/m;
	my ($status, $output) = run_command($ENV{CC} // 'cc', '-std=gnu11', '-O2', '-Wall', '-Wextra', '-o', $program, "$root/test/clients/$name.c",
		split(/ /, $links // ''));
	$status == 0 or die "cannot compile $name: $output";
	return $program;
}

# Compiles test/$name.c into a library for LD_PRELOAD; returns its path.
sub client_library
{
	my ($self, $name) = @_;
	my $library = "$self->{dir}/" . ($name =~ s{.*/}{}r) . '.so';
	my ($status, $output) = run_command($ENV{CC} // 'cc', '-std=gnu11', '-O2', '-Wall', '-Wextra', '-shared', '-fPIC', '-D_GNU_SOURCE',
		'-o', $library, "$root/test/$name.c");
	$status == 0 or die "cannot compile $name: $output";
	return $library;
}

# Runs test/clients/$name.c in the background. client_result() waits for it.
sub client_start
{
	my ($self, $name, @arguments) = @_;
	return $self->background($name, $self->client_program($name), @arguments);
}

sub client_output
{
	my ($self, $name) = @_;
	return slurp("$self->{dir}/$name.out");
}

# Waits for the end of a client; returns its exit status, or -1 after the deadline.
sub client_result
{
	my ($self, $pid, $seconds) = @_;
	my $status = -1;
	wait_for(sub { waitpid($pid, POSIX::WNOHANG()) == $pid ? do { $status = $?; 1 } : 0 }, "client $pid ends", $seconds);
	return $status;
}

# ---- the end -------------------------------------------------------------------------------------------------

sub tear_down
{
	my ($self) = @_;
	# only our own children that were not waited for: the number of one that was may be somebody else's by now
	kill 'KILL', grep { waitpid($_, POSIX::WNOHANG()) == 0 } @{$self->{clients} // []};
	$self->pg_stop('immediate') if -e "$self->{data}/postmaster.pid";
	return;
}

END
{
	my $status = $?;
	for my $server (grep { $_->{owner} == $$ } @servers)
	{
		diag("the end of the server's log:\n" . $server->log_tail) if !Test::More->builder->is_passing || $status != 0;
		$server->tear_down;
	}
	$? = $status;
}

1;
