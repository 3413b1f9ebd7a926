# Many streams of the same history: large pieces of it are sent to all of them from files in memory, and what waits in a socket
# stays what it was, whatever is dropped and rendered meanwhile.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use Digest::MD5 qw(md5_hex);
use Test::More;

my ($together, $rows) = (12, 20_000);
my $server = ChangefeedTest->start(
	changefeed => {'stall-timeout' => 300},
	h2o => {'num-threads' => 1},
	postgresql => {'changefeed.ring_size' => '64MB'}
);
$server->publish('users', 'id int PRIMARY KEY, filler text');
$server->sql("INSERT INTO users SELECT i, repeat(md5(i::text), 10) FROM generate_series(1, $rows) i");
$server->wait_for_feed;
my ($worker) = @{$server->processes->{workers}};

# Files in memory from which the worker sends.
sub spools { return scalar grep { (readlink // '') =~ /changefeed-spool/ } glob("/proc/$worker/fd/*"); }
is(spools(), 0, 'who sends nothing has no spools');

sub replay { return $server->stream('/cdc/users?since_lsn=earliest', json => 0); }

# The first row that is not the one that was written.
sub first_wrong
{
	my ($stream) = @_;
	for my $id (1 .. $rows)
	{
		my $event = $stream->event or return "$id is missing";
		$event->{data} =~ /"document_id":"$id",.*"filler":"((\w{32})\2{9})"/ && length $1 == 320 or return $event->{data};
		substr($1, 0, 32) eq md5_hex($id) or return $event->{data};
	}
	return;
}

my @waiting = map { replay() } 1 .. $together;
ok(wait_for(sub { spools() > 0 }, 'there are spools'), "$together streams of the same history are sent it from spools");
# each of these reads more than is kept, so that what the others wait for is dropped and closed
is(first_wrong(replay()), undef, 'another one gets every row') for 1 .. 2;
my @wrong = grep { defined } map { first_wrong($_) } @waiting;
is_deeply(\@wrong, [], 'so do those that did not read until then');
is($server->metric('events_total'), ($together + 2) * $rows, 'each once');

$_->close for @waiting;
ok(wait_for(sub { spools() == 0 }, 'no spools'), 'when they have gone nothing is left of it');

done_testing;
