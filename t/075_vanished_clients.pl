# Clients that vanish without a goodbye: their machine is off, or the way to it is down. Nothing tells the server but
# that nothing is acknowledged any more. They are freed after stall-timeout, whatever they spoke.
#
# It takes a network of its own, to be able to take it away. Where the kernel or a container does not let an
# unprivileged user have one, the test is skipped.

use strict;
use warnings;
use FindBin qw($Bin $Script);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use Test::More;
use Time::HiRes qw(time);

my @own_network = qw(unshare --user --map-current-user --net --keep-caps);
if (!$ENV{CHANGEFEED_TEST_OWN_NETWORK})
{
	run_command(@own_network, qw(ip link set lo up)) == 0 or plan skip_all => 'an unprivileged user cannot have a network here';
	$ENV{CHANGEFEED_TEST_OWN_NETWORK} = 1;
	exec(@own_network, $^X, "$Bin/$Script") or die "unshare: $!";
}

sub network { run_command(qw(ip link set lo), $_[0]) == 0 or die "ip: $_[0]"; return; }
network('up');

my $server = ChangefeedTest->new(changefeed => {heartbeat => 1, 'stall-timeout' => 2});
my $tls_port = $server->listen_tls('localhost');
$server->begin;
$server->publish('users', 'id text PRIMARY KEY');

my $stream = $server->stream('/cdc/users');
$server->client_program('h2_abuser');
my @clients = map { $server->client_start('h2_abuser', @$_, qw(--attack nothing --path /cdc/users --window 100000 --seconds 60)) }
  ['--port', $server->{http_port}], ['--port', $tls_port, '--tls'];

# SQL goes over a Unix socket, which needs no network.
sub held { return $server->status('streams, connections'); }
ok(wait_for(sub { held() =~ /^3\|/ }, 'three streams'), 'streams over HTTP/1.1, over HTTP/2, over TLS');

network('down');
my $gone = time;
ok(wait_for(sub { held() eq '0|0' }, 'no stream, no connection'), 'all are freed when nothing arrives any more');
my $took = time - $gone;
cmp_ok($took, '<', 15, sprintf('after %.1f s, with a stall-timeout of 2', $took));

network('up');
$stream = $server->stream('/cdc/users');
$server->sql(q{INSERT INTO users VALUES ('u1')});
is($stream->event->{json}{document_id}, 'u1', 'and when the way is back so are the clients');

done_testing();
