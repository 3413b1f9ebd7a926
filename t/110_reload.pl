# Reload: a changed h2o.conf takes effect for new connections, open streams go on; a broken one changes nothing and
# is named.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use ChangefeedTest::Http2 qw(h2_frame h2_head);
use HTTP::Tiny;
use IO::Socket::UNIX;
use Test::More;

my $server = ChangefeedTest->start(changefeed => {heartbeat => 1});
$server->publish('users', 'id text PRIMARY KEY');
my $stream = $server->stream('/cdc/users');
my $before = $server->processes;

sub header { return $server->get($_[0] // '/cdc/users/poll')->{headers}{'x-generation'} // ''; }

my $poller = HTTP::Tiny->new(keep_alive => 1);
is($poller->get($server->url('/cdc/users/poll'))->{headers}{connection}, 'keep-alive', 'a client polls over one connection');

# ---- a change
my $paths = $server->{h2o}{hosts}{default}{paths};
$paths->{'/cdc'}{'header.set'} = 'X-Generation: 2';
$server->{h2o}{'num-threads'} = 1;
$server->write_h2o_conf;
$server->reload;
ok(wait_for(sub { header() eq '2' }, 'the new h2o.conf is in force'), 'a changed h2o.conf takes effect');
ok(wait_for(sub { $poller->get($server->url('/cdc/users/poll'))->{headers}{connection} eq 'close' }, 'its worker has heard of it'),
	'the connection of the client that polls ends with an answer');
is($poller->get($server->url('/cdc/users/poll'))->{headers}{'x-generation'}, '2', 'and the one after comes by the new file');
my $after = $server->processes;
is("$after->{master} $after->{feed}", "$before->{master} $before->{feed}", 'master and feed are the same processes');
$server->sql(q{INSERT INTO users VALUES ('after reload')});
is($stream->event->{json}{document_id}, 'after reload', 'an open stream goes on');
is($server->status('config_message'), '', 'config_message is empty');

# ---- many reloads in a row leave one set of workers
for my $generation (3 .. 7)
{
	$paths->{'/cdc'}{'header.set'} = "X-Generation: $generation";
	$server->write_h2o_conf;
	$server->reload;
}
ok(wait_for(sub { header() eq '7' }, 'the last h2o.conf is in force'), 'the last of many reloads wins');
$server->sql(q{INSERT INTO users VALUES ('after many')});
is($stream->event->{json}{document_id}, 'after many', 'the stream from before all of them goes on');
$stream->close;
ok(wait_for(sub { @{$server->processes->{workers}} == 1 }, 'old workers end'), 'old workers end when their last stream has');

# ---- a client over HTTP/2 in the middle of a request, whose head comes in many frames (RFC 9113, 6.10)
sub get_head { return h2_head(':method', 'GET', ':scheme', 'http', ':authority', 'x', ':path', $_[0]); }
my ($asking, $came) = (IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $server->{http_port}) // die("connect: $!"), '');
sub has_come
{
	my ($what, $pattern) = @_;
	$asking->blocking(0);
	return wait_for(sub { sysread($asking, $came, 65536, length $came); $came =~ $pattern }, $what);
}
my ($begin, $rest) = unpack('a10 a*', get_head('/cdc/users/poll'));
syswrite($asking, join('', "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", h2_frame(4, 0, 0, ''), h2_frame(1, 5, 1, get_head('/cdc/users')), h2_frame(1, 1, 3, $begin)));
has_come('a stream over HTTP/2', qr/retry: /);
$stream = $server->stream('/cdc/users');
$paths->{'/cdc'}{'header.set'} = 'X-Generation: next';
$server->write_h2o_conf;
$server->reload;
has_come('GOAWAY', qr/\x00\x00.\x07\x00{5}/s);
my $alive = 0;
for (1 .. 4)
{
	syswrite($asking, h2_frame(9, 0, 3, ''));
	$alive += defined $stream->block;
}
is($alive, 4, 'a client that sends its request bit by bit holds up nobody in the worker that is to end');
syswrite($asking, h2_frame(9, 4, 3, $rest));
ok(has_come('the answer', qr/"next_cursor"/), 'and is answered');
close($asking);
$stream->close;
ok(wait_for(sub { @{$server->processes->{workers}} == 1 }, 'the old worker ends'), 'the old worker ends');

# ---- nothing has changed: servers are reloaded for many reasons
sub workers { return "@{$server->processes->{workers}}"; }
my ($unchanged_workers, $reloads) = (workers(), $server->status('reloads_total'));
$server->reload;
ok(wait_for(sub { $server->log =~ /h2o\.conf and the files that it names are as before/ }, 'the log says it'), 'a reload without a change: the log says so');
is(workers(), $unchanged_workers, 'the workers stay');
$server->{h2o}{'access-log'} = "$server->{dir}/access.log";
$server->write_h2o_conf;
$server->reload;
ok(wait_for(sub { $server->status('reloads_total') == $reloads + 1 }, 'the access log'), 'with a log of accesses');
rename($server->{h2o}{'access-log'}, "$server->{dir}/rotated") or die "rename: $!";
$server->reload;
ok(wait_for(sub { -e $server->{h2o}{'access-log'} }, 'a new log'), 'a reload without a change opens it again');
delete $server->{h2o}{'access-log'};

# ---- more workers than there is room for: the old ones give way, and say goodbye
$server->{h2o}{'num-threads'} = 64;
$server->write_h2o_conf;
$server->reload;
ok(wait_for(sub { @{$server->processes->{workers}} == 64 }, '64 workers'), '64 workers');
my $last_stream = $server->stream('/cdc/users');
my $long_poll = $server->stream('/cdc/users/poll?since_lsn=now&wait=60', no_read => 1);
wait_for(sub { $server->metric('polls_waiting') == 1 }, 'the poll waits');
$server->{h2o}{'num-threads'} = 1;
$server->write_h2o_conf;
$server->reload;
ok(wait_for(sub { @{$server->processes->{workers}} <= 3 }, 'the rest end'), 'those that serve nobody end');
$server->sql(q{INSERT INTO users VALUES ('room')});
is($last_stream->event->{json}{document_id}, 'room', 'there is room for one more: the stream goes on');
$long_poll->read_head;
is($long_poll->{status}, 200, 'as does the poll');
$last_stream->close;
$server->{h2o}{'num-threads'} = 64;
$server->write_h2o_conf;
$server->reload;
ok(wait_for(sub { @{$server->processes->{workers}} == 64 }, '64 workers again'), '64 workers again');
$last_stream = $server->stream('/cdc/users');
$long_poll = $server->stream('/cdc/users/poll?since_lsn=now&wait=60', no_read => 1);
wait_for(sub { $server->metric('polls_waiting') == 1 }, 'the poll waits');
$paths->{'/cdc'}{'header.set'} = 'X-Generation: 8';
$server->write_h2o_conf;
$server->reload;
$long_poll->read_head;
is($long_poll->{status}, 200, 'there is room for none: a poll that waits is answered before its worker ends');
ok($last_stream->wait_for_end, 'and its streams end');
$server->{h2o}{'num-threads'} = 1;
$paths->{'/cdc'}{'header.set'} = 'X-Generation: 9';
$server->write_h2o_conf;
$server->reload;
ok(wait_for(sub { header() eq '9' && @{$server->processes->{workers}} == 1 }, 'one worker'), 'one worker again');

# ---- an old worker that dies
my ($old_worker) = @{$server->processes->{workers}};
$last_stream = $server->stream('/cdc/users');
$paths->{'/cdc'}{'header.set'} = 'X-Generation: 7';
$server->write_h2o_conf;
$server->reload;
ok(wait_for(sub { header() eq '7' }, 'the file from before'), 'the file from before');
kill('KILL', $old_worker) or die "kill: $!";
ok($last_stream->wait_for_end, 'an old worker dies: its streams end');
ok(wait_for(sub { $server->log =~ /worker \d+, which only kept its streams, was killed by signal 9/ }, 'the log says it'), 'and the log says so');

# ---- broken files: each is refused with its place in the log and in status(), and nothing changes
$stream = $server->stream('/cdc/users');
my $good = slurp($server->{config_file});
my $taken_port = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1) or die "listen: $!";
my @broken = (
	['no YAML', "listen: [\n"],
	['an unknown directive', $good =~ s/^\{/{\n"no-such-directive": 1,/r],
	['an option of the wrong kind', $good =~ s/"heartbeat" : "?1"?/"heartbeat" : "soon"/r],
	['a listener that is not loopback', $good =~ s/"127\.0\.0\.1"/"0.0.0.0"/r],
	['a missing certificate',
		$good =~ s/"host" : "127\.0\.0\.1",/"host" : "127.0.0.1", "ssl" : {"certificate-file" : "\/nonexistent.pem", "key-file" : "\/nonexistent.pem"},/r],
	['a port that is taken', $good =~ s/"listen" : \[/'"listen" : [{"host" : "127.0.0.1", "port" : ' . $taken_port->sockport . '},'/er],
	['an access-log that is a command', $good =~ s/^\{/{\n"access-log": "|cat",/r],
	['an empty path', $good =~ s/"\/cdc" :/"" : {"changefeed" : "ON"}, "\/cdc" :/r],
	['nothing', ''],
);
for my $case (@broken)
{
	my ($what, $text) = @$case;
	isnt($text, $good, "$what: the file differs");
	my $log_before = length($server->log);
	$server->write_h2o_conf($text);
	$server->reload;
	ok(wait_for(sub { $server->status('config_message') ne '' }, "$what: config_message"), "$what: config_message says " . $server->status('config_message'));
	like($server->status('config_message'), qr/h2o\.conf/, "$what: it names the file");
	like(substr($server->log, $log_before), qr/h2o\.conf/, "$what: so does the log");
	is(header(), '7', "$what: the file before stays in force");
	$server->write_h2o_conf($good);
	$server->reload;
	ok(wait_for(sub { $server->status('config_message') eq '' }, "$what: repaired"), "$what: a repaired file is taken");
}
unlink($server->{config_file});
$server->reload;
ok(wait_for(sub { $server->status('config_message') ne '' }, 'a missing file'), 'a missing file: ' . $server->status('config_message'));
is(header(), '7', 'a missing file: the one before stays in force');
$server->write_h2o_conf($good);
$server->reload;
wait_for(sub { $server->status('config_message') eq '' }, 'the file is back');
$server->sql(q{INSERT INTO users VALUES ('after all')});
is($stream->event->{json}{document_id}, 'after all', 'the stream has gone on through all of it');

# ---- another port; the old one is closed
my $old_port = $server->{http_port};
$server->{h2o}{listen}[0]{port} = free_port();
$server->write_h2o_conf;
$server->{http_port} = $server->{h2o}{listen}[0]{port};
$server->reload;
$server->wait_ready;
ok(wait_for(sub { !IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $old_port) }, 'the old port is closed'),
	'a listener that moved: the old port is closed');
$server->sql(q{INSERT INTO users VALUES ('moved')});
is($stream->event->{json}{document_id}, 'moved', 'and its streams go on');

# ---- a server that starts with a broken file: PostgreSQL starts all the same, and a repair is enough
for my $case (['no YAML', "listen: [\n"], ['a listener that is not loopback', $good =~ s/"127\.0\.0\.1"/"0.0.0.0"/r])
{
	my ($what, $text) = @$case;
	$server->pg_stop;
	$server->write_h2o_conf($text);
	my $log_before = length($server->log);
	$server->pg_start;
	is($server->sql('SELECT 1'), 1, "started with $what: PostgreSQL works");
	ok(wait_for(sub { substr($server->log, $log_before) =~ /h2o\.conf/ }, 'the log names the file'), "started with $what: the log names the file");
	$server->write_h2o_conf;
	$server->reload;
	ok($server->wait_ready, "started with $what: a repaired file and a reload are enough");
}

# A program that is about to end for its configuration gets a reload, and so does the next one.
{
	my $taken = IO::Socket::UNIX->new(Local => "$server->{dir}/taken", Listen => 1) or die "listen: $!";
	$server->pg_stop;
	unshift @{$server->{h2o}{listen}}, {type => 'unix', port => "$server->{dir}/taken"};
	$server->write_h2o_conf;
	my $log_before = length($server->log);
	$server->pg_start;
	$taken->accept; # it looks whether the socket is in use, and goes on to for 3 seconds
	shift @{$server->{h2o}{listen}};
	$server->write_h2o_conf;
	$server->reload;
	ok(wait_for(sub { substr($server->log, $log_before) =~ /cannot listen/ }, 'it gives up'), 'started with a socket that is taken');
	ok($server->wait_ready, 'a reload that came before it gave up counts');
}

# ---- a name that is longer than config_message, which is cut between characters: 510 bytes are whole ones
my $path = "$server->{dir}/";
$path .= "\xc3\xa9" x 100 . '/' while length($path) < 300;
$path .= 'x' x (length($path) % 2) . "\xc3\xa9" x 110;
mkdir(substr($path, 0, pos($path))) while $path =~ m{/}g;
spew($path, slurp($server->{config_file}));
$server->configure('changefeed.config_file' => $path);
$server->pg_stop;
$server->pg_start;
$server->wait_ready;
unlink($path) or die "unlink: $!";
$server->reload;
wait_for(sub { $server->status('config_message') ne '' }, 'a long name');
is($server->status('octet_length(config_message)'), 510, 'a long name: config_message is cut between characters');

done_testing();
