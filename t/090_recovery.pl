# Recovery: crashes of PostgreSQL and of everything at once, a ring that is damaged or lost, a slot that is gone.
# Ids stay the same as long as the history does; where it ends, clients are told.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use Test::More;

my $server = ChangefeedTest->start(changefeed => {heartbeat => 1});
$server->publish('users', 'id text PRIMARY KEY');
my $ring = "$server->{data}/pg_changefeed/ring";
ok(-s $ring, 'the ring is where the settings say');

sub documents { return join(' ', map { $_->{document_id} } $server->poll_all('users', @_)); }

# ---- PostgreSQL crashes: everything comes back with the same ids
$server->sql(q{INSERT INTO users VALUES ('a'), ('b'); INSERT INTO users VALUES ('c')});
$server->wait_for_feed;
my @ids = map { $_->{id} } $server->poll_all('users');
my $stream = $server->stream('/cdc/users?since_lsn=earliest');
is(scalar(() = $stream->events(3)), 3, 'a client has three changes');
my $pids = $server->processes;
$server->pg_stop('immediate');
ok(wait_for(sub { !grep { process_alive($_) } $pids->{master}, $pids->{feed}, @{$pids->{workers}} }, 'our processes end'),
	'pg_ctl stop -m immediate: our processes end with it');
$server->pg_start;
$server->wait_ready;
is(join(' ', map { $_->{id} } $server->poll_all('users')), "@ids", 'after a crash: the same changes with the same ids');
$server->sql(q{INSERT INTO users VALUES ('d')});
my $resumed = $server->stream('/cdc/users', headers => {'Last-Event-ID' => $stream->{last_id}});
is($resumed->event->{json}{document_id}, 'd', 'and the client resumes without a gap');

# ---- kill -9 of everything at the same time, while transactions are written
my $since = $server->now_lsn;
my $session = $server->session;
$session->send(join(";\n", map { "INSERT INTO users VALUES ('k$_')" } 1 .. 20_000));
wait_for(sub { $server->sql('SELECT count(*) FROM users') > 1000 }, 'a writer writes');
$pids = $server->processes;
my $postmaster = $server->postmaster;
kill('KILL', $postmaster, $pids->{master}, $pids->{feed}, @{$pids->{workers}});
ok(wait_for(sub { !grep { process_alive($_) } $postmaster, $pids->{master}, $pids->{feed}, @{$pids->{workers}} }, 'all are dead'), 'all are dead');
eval { $session->finish };
$server->pg_start_again;
$server->wait_ready;
$server->wait_for_feed;
my @rows = split /\n/, $server->sql(q{SELECT id FROM users WHERE id LIKE 'k%' ORDER BY substr(id, 2)::int});
is_deeply([map { $_->{document_id} } $server->poll_all('users', since => $since)], \@rows, 'what was committed is there, once, in order: ' . @rows . ' rows');

# ---- the ring file cannot be written for a while: nothing is served that is not in it, nothing is lost
$since = $server->now_lsn;
my ($feed) = $server->processes->{feed};
my $limit_files = sub { return run_command('prlimit', "--fsize=$_[0]:", '--pid', $feed) == 0 };
ok($limit_files->(4096), 'the feed may not write files any more');
$server->sql(q{INSERT INTO users VALUES ('unwritten'); INSERT INTO users VALUES ('unwritten, too')});
ok(wait_for(sub { $server->status('message') =~ /cannot write the ring file: File too large/ }, 'it is said'), 'the status says what is wrong');
is(documents(since => $since), '', 'what is not in the file is not served');
ok($limit_files->('unlimited'), 'it may again');
$server->wait_for_feed;
is(documents(since => $since), 'unwritten unwritten, too', 'every change comes, once');
is($server->processes->{feed}, $feed, 'from the same process');

# ---- a damaged ring: never wrong data; what was lost with it is said. (What the slot has not forgotten yet would come
# again; so it has to forget it first.)
$server->make_slot_forget;
$server->pg_stop;
my $last = $ids[0];
open(my $file, '+<:raw', $ring) or die "$ring: $!";
my $size = -s $ring;
for my $offset (map { $_ * 4096 } 0 .. $size / 4096 - 1)
{
	seek($file, $offset + 100, 0);
	print $file "\xa5" x 64;
}
close($file);
$server->pg_start;
$server->wait_ready;
$server->sql(q{INSERT INTO users VALUES ('after damage')});
$server->wait_for_feed;
is(documents(), 'after damage', 'a ring that is damaged all over is not read from');
my $told = $server->stream('/cdc/users', headers => {'Last-Event-ID' => $last})->event;
is($told->{event}, 'reset', 'a client from before is told');
is($server->stream('/cdc/users?on_gap=fail', headers => {'Last-Event-ID' => $last})->{status}, 410, 'or gets 410');

# ---- the ring is lost
$server->make_slot_forget;
$server->pg_stop;
unlink($ring) or die "unlink: $!";
$server->pg_start;
$server->wait_ready;
$server->sql(q{INSERT INTO users VALUES ('after loss')});
$server->wait_for_feed;
is(documents(), 'after loss', 'a ring that is lost is made anew');
$told = $server->stream('/cdc/users', headers => {'Last-Event-ID' => $last})->event;
is($told->{event}, 'reset', 'a client from before is told');

# ---- the slot is dropped: a new history
my $cursor = ($server->poll_all('users'))[-1]{id};
$server->configure('changefeed.enabled' => 'off');
$server->pg_stop;
$server->pg_start;
$server->sql(q{SELECT pg_drop_replication_slot('changefeed'); INSERT INTO users VALUES ('unseen')});
$server->configure('changefeed.enabled' => 'on');
$server->pg_stop;
$server->pg_start;
$server->wait_ready;
$server->sql(q{INSERT INTO users VALUES ('after the slot')});
my $reset = $server->stream('/cdc/users', headers => {'Last-Event-ID' => $cursor});
is($reset->event->{event}, 'reset', 'a slot made anew: clients from before get a reset');
is($reset->event->{json}{document_id}, 'after the slot', 'and then what there is');
is($server->get("/cdc/users/poll?since_lsn=$cursor")->{status}, 410, 'a poll gets 410');

done_testing();
