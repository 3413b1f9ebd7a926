# A row that PostgreSQL cannot send, because its text is larger than 1 GB: the feed stops in front of it and says why, what there
# is is served, and an administrator who advances the slot gets it going again, which clients are told.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use Test::More;

my ($free_kb) = slurp('/proc/meminfo') =~ /^MemAvailable:\s+(\d+) kB/m;
plan skip_all => 'PostgreSQL needs 4 GB of memory for this row' if $free_kb < 4 << 20;

my $server = ChangefeedTest->start(changefeed => {heartbeat => 1});
$server->publish('files', 'id int PRIMARY KEY, content bytea');
my $stream = $server->stream('/cdc/files');

sub slot_holds_back { return $server->sql(q{SELECT pg_current_wal_lsn() - restart_lsn FROM pg_replication_slots WHERE slot_name = 'changefeed'}); }

$server->sql(q{INSERT INTO files VALUES (1, ''); INSERT INTO files SELECT 2, convert_to(repeat('x', 540000000), 'UTF8')});
my $behind = $server->now_lsn;
$server->sql(q{INSERT INTO files VALUES (3, '')});
ok(wait_for(sub { $server->status('message') =~ /invalid memory alloc request size/ }, 'it is said', 60), 'status() says why the feed has stopped');
is(join(' ', map { $_->{document_id} } $server->poll_all('files')), '1', 'what was committed before is served');
my $first = $stream->event->{id};
cmp_ok(slot_holds_back(), '>', 1 << 20, 'the slot keeps the rest');

# The feed tries again and again, and holds the slot while it does.
ok(wait_for(sub { eval { $server->sql("SELECT pg_replication_slot_advance('changefeed', '$behind')") } }, 'the slot is advanced', 60),
	'the slot is advanced behind the row');
my @told = $stream->events(2);
is_deeply([map { $_->{event} } @told], [qw(reset insert)], 'a new history begins, which a stream is told, and goes on');
is($told[1]{json}{document_id}, '3', 'with what was committed behind the row');
is($server->get("/cdc/files/poll?since_lsn=$first")->{status}, 410, 'a poll with a cursor from before gets 410');

done_testing();
