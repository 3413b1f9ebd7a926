# The program by itself: against a server that has neither the extension nor its settings, and on the command line.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use Test::More;

my $server = ChangefeedTest->new(extension => 0, changefeed => {heartbeat => 1});
my $program = "$server->{bindir}/pg_changefeed";

# ---- the command line
my ($status, $output) = run_command($program, '--help');
is($status, 0, '--help');
for my $option (qw(--dbname --host --port --username --slot --publication --config --ring-file --ring-size --check --help --version))
{
	like($output, qr/\Q$option\E\b/, "--help names $option");
}
($status, $output) = run_command($program, '--version');
is($status, 0, '--version');
like($output, qr/^pg_changefeed \d+\.\d+\S*( |$)/m, '--version says which');
for my $arguments (['--no-such-option'], ['--ring-size'], ['--ring-size', 'huge'], ['surplus'], ['--port', 'x'])
{
	($status, $output) = run_command($program, @$arguments);
	isnt($status, 0, "@$arguments: refused");
	cmp_ok($status, '<', 128, "@$arguments: by an exit status");
	like($output, qr/pg_changefeed: .*(--help|ring-size|port|surplus)/s, "@$arguments: with a word on it");
}

# ---- h2o.conf
($status, $output) = run_command($program, '--check', '--config', $server->{config_file});
is($status, 0, '--check of a good h2o.conf') or diag($output);
spew("$server->{dir}/bad.conf", "listen:\n  host: 127.0.0.1\n  port: 7080\nno-such-directive: 1\n");
($status, $output) = run_command($program, '--check', '--config', "$server->{dir}/bad.conf");
isnt($status, 0, '--check of a bad one');
like($output, qr/bad\.conf:4\b.*no-such-directive/, 'names file, line and directive');
spew("$server->{dir}/open.conf", slurp($server->{config_file}) =~ s/127\.0\.0\.1/0.0.0.0/r);
($status, $output) = run_command($program, '--check', '--config', "$server->{dir}/open.conf");
isnt($status, 0, '--check of a listener that is not loopback');
like($output, qr/open\.conf:\d+.*loopback/, 'says why');
spew("$server->{dir}/log.conf", slurp($server->{config_file}) =~ s/^\{/{"access-log": "$server->{dir}\/access.log",/r);
($status, $output) = run_command($program, '--check', '--config', "$server->{dir}/log.conf");
is($status, 0, '--check of an access-log that is not there yet') or diag($output);
ok(!-e "$server->{dir}/access.log", 'does not make it, for another user perhaps');
spew("$server->{dir}/log.conf", slurp("$server->{dir}/log.conf") =~ s/access\.log/none\/access.log/r);
($status, $output) = run_command($program, '--check', '--config', "$server->{dir}/log.conf");
isnt($status, 0, '--check of an access-log whose directory is not there');
like($output, qr/access-log: \S+ cannot be opened: No such file or directory/, 'says why');
($status, $output) = run_command($program, '--check', '--config', "$server->{dir}/none.conf");
isnt($status, 0, '--check of a file that is not there');
like($output, qr/none\.conf/, 'names it');

# The look at h2o.conf does not end by itself: it waits for whoever writes a certificate into a pipe.
POSIX::mkfifo("$server->{dir}/pipe", 0600) or die "mkfifo: $!";
spew("$server->{dir}/killed.conf",
	"listen: {host: 127.0.0.1, port: @{[free_port()]}, ssl: {certificate-file: $server->{dir}/pipe, key-file: $server->{dir}/pipe}}\n"
	  . "hosts: {default: {paths: {/cdc: {changefeed: ON}}}}\n");
my $starting = open(my $said, '-|') // die "fork: $!";
if ($starting == 0)
{
	open(STDERR, '>&', \*STDOUT);
	exec { $program } $program, '--config', "$server->{dir}/killed.conf", '--ring-file', "$server->{dir}/none" or POSIX::_exit(127);
}
my $looking = wait_for(sub { (children_of($starting))[0] }, 'a process looks at it');
kill('KILL', $looking) or die "kill: $!";
$output = do { local $/; <$said> };
close($said);
is($? >> 8, 1, 'the process that looks at h2o.conf is killed: that is no wrong configuration, which would be 78');
like($output, qr/looking at \S+killed\.conf failed: the process was killed by signal 9/, 'and the log says what happened');

($status, $output) = run_command($program, '--config', $server->{config_file}, '--ring-file', "$server->{dir}/none/ring");
is($status, 1, 'a ring in a directory that is not there: refused');
like($output, qr/the directory "\S+none" does not exist/, 'names it');

# ---- a server without the extension, and a role that has REPLICATION and no privilege on the table
$server->pg_start;
$server->sql(q{CREATE DATABASE app});
$server->{database} = 'app';
$server->sql(q{CREATE ROLE replicator LOGIN REPLICATION; CREATE TYPE mood AS ENUM ('sad');
	CREATE TABLE users (id text PRIMARY KEY, mood mood);
	REVOKE ALL ON users FROM PUBLIC});
my @options = ('--dbname', 'app', '--host', $server->{dir}, '--username', 'replicator', '--slot', 'by_hand', '--publication', 'Its "feed"',
	'--config', $server->{config_file}, '--ring-file', "$server->{dir}/ring", '--ring-size', '8MB');

sub program_start
{
	my ($log) = @_;
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		open(STDIN, '<', '/dev/null');
		open(STDOUT, '>>', "$server->{dir}/program.log");
		open(STDERR, '>&', $log // \*STDOUT);
		$SIG{PIPE} = 'DEFAULT';
		$SIG{CHLD} = 'IGNORE';    # as who starts it may have it: what ends is noticed all the same
		exec { $program } $program, @options or POSIX::_exit(127);
	}
	push @{$server->{clients}}, $pid;
	return $pid;
}
sub children_of { my ($parent) = @_; my %parent = ChangefeedTest::process_parents(); return grep { $parent{$_} == $parent } keys %parent; }
sub program_log { return slurp("$server->{dir}/program.log"); }

# Its settings make each of its queries wait for whoever may write in a serializable transaction.
$server->sql("ALTER ROLE replicator SET default_transaction_$_") for q(isolation = 'serializable'), q(read_only = on), q(deferrable = on);
my $serializable = $server->session;
$serializable->query($_) for 'BEGIN ISOLATION LEVEL SERIALIZABLE', 'SELECT FROM users';

my $pid = program_start();
ok(wait_for(sub { program_log() =~ /publication ".*" does not exist in database "app": .* or (CREATE PUBLICATION .*;).* --dbname/ }, 'the log'),
	'no publication: the log says what to do, also if it is the wrong database');
$server->sql(program_log() =~ /(CREATE PUBLICATION .*;)/);
$server->sql('ALTER PUBLICATION "Its ""feed""" ADD TABLE users');
$server->wait_ready or diag(program_log());
my $stream = $server->stream('/cdc/users');
$server->sql(q{INSERT INTO users VALUES ('u1')});
is($stream->event->{json}{document_id}, 'u1', 'changes arrive');
$serializable->query('COMMIT');
is($server->sql(q{SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'by_hand'}), 1, 'the slot is the one that was named');
my $last = $stream->{last_id};

# A second program with the same ring does not get it.
my ($second_status, $second_output) = run_command('timeout', '10', $program, @options);
isnt($second_status, 0, 'a second program with the same ring or port does not start');
like($second_output, qr/\w/, 'and says why');
ok(process_alive($pid), 'the first one goes on');

# Nor does one that listens elsewhere, with another slot and another size.
my @others = (@options, '--ring-size', '4MB', '--slot', 'other', '--config',
	spew("$server->{dir}/other.conf", "listen: {host: 127.0.0.1, port: @{[free_port()]}}\nhosts: {default: {paths: {/cdc: {changefeed: ON}}}}\n"));
($second_status, $second_output) = run_command('timeout', '10', $program, @others);
is($second_status, 1, 'a second program with the same ring, on another port, does not start');
like($second_output, qr/the ring "\S+" is used by another pg_changefeed, with PID $pid: /, 'and says by whom it is used');
$server->sql(q{INSERT INTO users VALUES ('u1b')});
is($stream->event->{json}{document_id}, 'u1b', 'the stream of the first one goes on');
$last = $stream->{last_id};
unlike(program_log(), qr/starting over|new size/, 'and its ring is what it was');

# ---- reload and stop by signals
my @children = children_of($pid);
$server->{h2o}{hosts}{default}{paths}{'/cdc'}{'header.set'} = 'X-Generation: 2';
$server->write_h2o_conf;
kill('HUP', @children, $pid);    # as pkill sends it
ok(wait_for(sub { ($server->get('/cdc/users/poll')->{headers}{'x-generation'} // '') eq '2' }, 'the new h2o.conf is in force'),
	'SIGHUP: h2o.conf is read again');
unlike($server->get('/metrics')->{content}, qr/deaths_total [1-9]/, 'SIGHUP: to all of its processes: none ends of it');
kill('TERM', $pid);
is($server->client_result($pid), 0, 'SIGTERM: it ends with status 0');
ok(!(grep { process_alive($_) } @children), 'and its processes with it');
ok($stream->wait_for_end(5), 'streams end');

# ---- PostgreSQL goes away and comes back
$pid = program_start();
$server->wait_ready or diag(program_log());
$stream = $server->stream('/cdc/users', headers => {'Last-Event-ID' => $last});
$server->pg_stop;
ok(wait_for(sub { $server->get('/readyz')->{status} == 503 }, 'not ready'), 'PostgreSQL stops: /readyz says 503');
is($server->get('/healthz')->{status}, 200, 'the program lives');
ok(wait_for(sub { my $feed = $server->get('/cdc')->{json}{feed}; exists $feed->{lag_bytes} && !defined $feed->{lag_bytes} }, 'no lag'),
	'how far it is behind is not known: null');
unlike($server->get('/metrics')->{content}, qr/feed_lag_bytes/, 'and absent from /metrics');
is($server->get('/cdc/users/poll')->{status}, 200, 'and serves what it has');
$server->pg_start;
$server->sql(q{INSERT INTO users VALUES ('u2')});
is($stream->event->{json}{document_id}, 'u2', 'PostgreSQL comes back: the stream goes on');

# ---- a signal to all of them, as a terminal and systemd send it; the others are sooner
@children = children_of($pid);
kill('STOP', $pid);
kill('TERM', @children, $pid);
ok(wait_for(sub { !grep { process_alive($_) } @children }, 'the children end'), 'SIGTERM to all of them: each ends');
kill('CONT', $pid);
is($server->client_result($pid), 0, 'SIGTERM to all of them: status 0');
unlike(program_log(), qr/start(?:ed again|ing another)/, 'SIGTERM to all of them: nobody is missed');

# ---- while the feed has never been connected
$server->pg_stop;
unlink("$server->{dir}/ring");
$pid = program_start();
ok(wait_for(sub { $server->get('/healthz')->{status} == 200 }, 'the program runs'), 'without PostgreSQL the program runs');
my $unready = $server->get('/cdc/users');
is($unready->{status}, 503, 'a stream is refused with 503');
like($unready->{headers}{'retry-after'} // '', qr/^\d+$/, 'and Retry-After');
is($unready->{headers}{'content-type'}, 'application/problem+json', 'and a problem document');
$server->pg_start;
ok($server->wait_ready, 'it connects as soon as there is a server');
kill('TERM', $pid);
is($server->client_result($pid), 0, 'it ends');

# ---- whoever reads what it logs goes away
pipe(my $reader, my $writer) or die "pipe: $!";
$pid = program_start($writer);
close($writer);
$server->wait_ready;
close($reader);
$server->{h2o}{hosts}{default}{paths}{'/cdc'}{'header.set'} = 'X-Generation: 3';
$server->write_h2o_conf;
kill('HUP', $pid);
ok(wait_for(sub { ($server->get('/cdc/users/poll')->{headers}{'x-generation'} // '') eq '3' }, 'the new h2o.conf is in force'),
	'nobody reads what it logs: it goes on');
kill('TERM', $pid);
is($server->client_result($pid), 0, 'and ends as always');

# ---- master killed: feed and workers do not stay behind
$pid = program_start();
$server->wait_ready;
@children = children_of($pid);
kill('KILL', $pid);
ok(wait_for(sub { !grep { process_alive($_) } @children }, 'the children end', 5), 'kill -9 of the master: its processes end');

done_testing();
