# stream-lifetime: streams are ended in an orderly way and not all at once, busy ones and silent ones, and their clients
# go on where they were; after a reload it is what makes the old workers end.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use Test::More;
use Time::HiRes qw(time);

use constant {LIFETIME => 3, CLIENTS => 60};

# Of the crowd's path a tenth is long enough to be seen on a machine that is busy.
my $server = ChangefeedTest->new(changefeed => {heartbeat => 1, 'stream-lifetime' => LIFETIME});
$server->{h2o}{hosts}{default}{paths}{'/crowd'}{changefeed} = {heartbeat => 1, 'stream-lifetime' => 10};
$server->{h2o}{hosts}{default}{paths}{'/brief'} = {changefeed => {heartbeat => 2, 'stream-lifetime' => 1, 'stall-timeout' => 2}};
$server->begin;
$server->publish($_, 'id text PRIMARY KEY') for qw(users quiet);

# ---- a silent stream, in both versions of HTTP
my $began = time;
my $silent = $server->stream('/cdc/quiet');
1 while $silent->block;
ok($silent->{ended}, 'a silent stream ends');
my $lived = time - $began;
cmp_ok($lived, '>', 0.9 * LIFETIME - 0.1, sprintf('after %.1f s, not before its last tenth', $lived));
cmp_ok($lived, '<', LIFETIME + 5, 'and about in time');
is($silent->{text} . $silent->{raw}, '', 'behind a whole block');
$server->sql(q{INSERT INTO quiet VALUES ('meanwhile')});
is($server->stream('/cdc/quiet', headers => {'Last-Event-ID' => $silent->{last_id}})->event->{json}{document_id}, 'meanwhile', 'and its last id goes on');
for my $version (qw(--http1.1 --http2-prior-knowledge))
{
	my ($status) = run_command('curl', '-sN', '--max-time', 20, $version, $server->url('/cdc/quiet'));
	is($status, 0, "curl $version: its end is an orderly one");
}

# ---- a window that is as wide as all that comes before the end, a start and a keep-alive, and not for the end
my (undef, $whole) = run_command('curl', '-sN', '--max-time', 20, $server->url('/brief/quiet'));
$server->client_result($server->client_start('h2_abuser', '--port', $server->{http_port},
	qw(--attack nothing --path /brief/quiet --seconds 20 --window), length $whole));
like($server->client_output('h2_abuser'), qr/cut=1$/, 'a client that does not take the end of its stream is cut off');

# ---- a crowd that is sent to all the time
my $count = 0;
my $before = $server->metric('streams_total');
my $crowd = $server->client_start('sse_clients', '--port', $server->{http_port}, '--path', '/crowd/users', '--clients', CLIENTS, '--until', 'last');
ok(wait_for(sub { $server->client_output('sse_clients') =~ /^open$/m }, 'the crowd is there'), 'a crowd of streams');
my $some = 0; # whether there was a moment when some of them had ended and others not
sub all_ended
{
	$server->sql(q{INSERT INTO users VALUES ('u} . ++$count . q{')});
	my $new = $server->metric('streams_total') - $before - CLIENTS;
	$some ||= $new > 0 && $new < CLIENTS;
	return $new >= CLIENTS;
}
ok(wait_for(\&all_ended, 'all ended once'), 'a busy stream ends, too, and comes back');
ok($some, 'they do not end together');
$server->sql(q{INSERT INTO users VALUES ('last')});
is($server->client_result($crowd), 0, 'nothing is lost or doubled by it');
my ($summary) = $server->client_output('sse_clients') =~ /^(finished=.*)$/m;
like($summary // '', qr/finished=@{[CLIENTS]} events=@{[CLIENTS * ($count + 1)]} .* disorder=0 gaps=0 .* refused=0/, $summary // 'no summary');

# ---- a reload: the old workers have an end although nobody goes
my $stream = $server->stream('/cdc/users');
my %old = map { $_ => 1 } @{$server->processes->{workers}};
$server->{h2o}{hosts}{default}{paths}{'/cdc'}{changefeed}{'stream-lifetime'} = 0;
$server->write_h2o_conf;
$server->reload;
ok(wait_for(sub { !grep { $old{$_} } @{$server->processes->{workers}} }, 'the old workers end'), 'after a reload the old workers end with their streams');
ok($stream->wait_for_end, 'which have ended');

done_testing();
