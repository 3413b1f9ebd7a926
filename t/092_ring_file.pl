# What can happen to the ring's file, while it is used and while it is not: it is deleted, cut, replaced, written over,
# made read-only, another size. PostgreSQL goes on; who has missed something, or may have, is told; nothing turns in circles.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use File::Copy qw(copy);
use Test::More;

my $server = ChangefeedTest->start(changefeed => {heartbeat => 1}, postgresql => {'changefeed.ring_size' => '4MB'});
$server->publish('users', 'id text PRIMARY KEY, filler text');
my $ring = "$server->{data}/pg_changefeed/ring";
my $number = 0;

sub documents { return map { $_->{document_id} } $server->poll_all('users', @_); }

# Writes a row and returns its id, once it is confirmed to the slot: so that nothing but the ring has it.
sub write_confirmed
{
	my $document = 'u' . ++$number;
	$server->sql("INSERT INTO users VALUES ('$document', repeat('x', 500))");
	$server->wait_confirmed;
	return ($server->poll_all('users'))[-1]{id};
}

# The ring was lost: who comes with a cursor from before is told so, and what is committed from now on arrives.
my $log_read = length($server->log);

sub is_told
{
	my ($what, $cursor, $line) = @_;
	my $said = sub { my $new = substr($server->log, $log_read); $new =~ /$line/ && $new =~ /the ring begins a new history/ };
	ok(wait_for($said, "$what: the log"), "$what: the log says so, and that a new history begins");
	$log_read = length($server->log);
	$server->wait_ready;
	my $document = 'u' . ++$number;
	$server->sql("INSERT INTO users VALUES ('$document')");
	is($server->get("/cdc/users/poll?since_lsn=$cursor")->{status}, 410, "$what: a poll with a cursor from before gets 410");
	my $stream = $server->stream('/cdc/users', headers => {'Last-Event-ID' => $cursor});
	my $event = $stream->event;
	is($event && $event->{event}, 'reset', "$what: a stream gets a reset");
	my @events = $stream->events_until(sub { ($_[0]{json}{document_id} // '') eq $document });
	is(@events && $events[-1]{json}{document_id}, $document, "$what: and what is committed from now on");
	cmp_ok($server->status('feed_deaths_total'), '<', 5, "$what: the feed did not die again and again");
	return;
}

# ---- while it is used
my $cursor = write_confirmed();
unlink($ring) or die "$ring: $!";
is_told('deleted', $cursor, qr/the ring ".*" was removed, replaced or cut: starting over/);

for my $size (0, 100_000, 3_000_000)
{
	$cursor = write_confirmed();
	truncate($ring, $size) or die "$ring: $!";
	$server->sql(q{INSERT INTO users VALUES ('cut } . $size . q{', repeat('x', 1000))});    # the feed may touch what is gone
	is_told("cut to $size bytes", $cursor, qr/is made anew: (the ring file is damaged|not a ring file of this version)/);
}

sub write_over
{
	my ($offset, $bytes) = @_;
	open(my $file, '+<:raw', $ring) or die "$ring: $!";
	seek($file, $offset, 0);
	print $file $bytes;
	close($file) or die "$ring: $!";
	return;
}
my $size = -s $ring;
my $garbage = join('', map { chr(int rand 256) } 1 .. 65536);

$cursor = write_confirmed();
spew("$server->{dir}/garbage", substr($garbage x ($size / 65536 + 1), 0, $size));
rename("$server->{dir}/garbage", $ring) or die "rename: $!";
is_told('replaced by garbage', $cursor, qr/is made anew: not a ring file of this version/);

$cursor = write_confirmed();
write_over(0, $garbage x 2);
is_told('checkpoints written over', $cursor, qr/is made anew: not a ring file of this version/);

$cursor = write_confirmed();
write_over($size - 4 * 1024 * 1024, $garbage x 64);
$server->get('/cdc/users/poll?since_lsn=earliest');    # somebody has to look
is_told('records written over', $cursor, qr/holds bytes that are not of this history: starting over/);

write_confirmed();
my $whole = $server->status('retained_bytes');
$cursor = write_confirmed();
write_over($size - 4 * 1024 * 1024 + $whole, $garbage);
my $answer = $server->get('/cdc/users/poll?since_lsn=earliest');
is("$answer->{status} $answer->{json}{detail}", '503 the ring is damaged, and a new one is made: try again', 'later records written over: a poll says so');
is_told('later records written over', $cursor, qr/holds bytes that are not of this history: starting over/);

# ---- by an older copy of itself, over the file while it is used, and in its place while it is not
$server->sql(q{INSERT INTO users SELECT 'many ' || i, repeat('x', 500) FROM generate_series(1, 1000) i});
$server->wait_for_feed;
write_confirmed();
copy($ring, "$server->{dir}/older") or die "copy: $!";
write_confirmed() for 1 .. 3;
$cursor = write_confirmed();
write_over(0, scalar slurp("$server->{dir}/older"));
$server->sql(q{INSERT INTO users VALUES ('over it')});    # a checkpoint looks, and it needs something to write
is_told('an older copy written over it', $cursor, qr/holds bytes that are not of this history: starting over/);

write_confirmed();
$server->pg_stop;
copy($ring, "$server->{dir}/older") or die "copy: $!";
$server->pg_start;
$server->wait_ready;
write_confirmed() for 1 .. 3;
$cursor = write_confirmed();
$server->make_slot_forget;
$server->pg_stop;
copy("$server->{dir}/older", $ring) or die "copy: $!";
$server->pg_start;
$server->wait_ready;
is_told('an older copy in its place', $cursor, qr/it ends at .* and the slot goes on at .*: somebody else read or advanced it/);

# ---- by the ring of another cluster
my $other = ChangefeedTest->start(postgresql => {'changefeed.ring_size' => '4MB'});
$other->publish('users', 'id text PRIMARY KEY');
$other->sql(q{INSERT INTO users VALUES ('not ours')});
$other->wait_for_feed;
$other->pg_stop;
$cursor = write_confirmed();
$server->make_slot_forget;
$server->pg_stop;
copy("$other->{data}/pg_changefeed/ring", $ring) or die "copy: $!";
$server->pg_start;
$server->wait_ready;
is_told('the ring of another cluster', $cursor, qr/it is of the cluster \d+, and the server is \d+/);
ok(!(grep { $_ eq 'not ours' } documents()), 'the ring of another cluster: nothing of it is served');

# ---- read-only: it is kept, and used again as soon as it can be
$cursor = write_confirmed();
my @ids = map { $_->{id} } $server->poll_all('users');
$server->pg_stop;
chmod(0400, $ring) or die "chmod: $!";
$server->pg_start;
is($server->sql('SELECT 1'), 1, 'read-only: PostgreSQL works');
ok(wait_for(sub { $server->log =~ /cannot use the ring ".*": Permission denied/ }, 'the log says it'), 'read-only: the log says what is wrong');
ok(wait_for(sub { $server->status('message') =~ /is not alive; the server's log says why/ }, 'status() says it'), 'read-only: so does status()');
$server->sql(q{INSERT INTO users VALUES ('while it was read-only')});
chmod(0600, $ring) or die "chmod: $!";
$server->wait_ready;
$server->wait_for_feed;
is(join(' ', map { $_->{id} } $server->poll_all('users', since => 'earliest', limit => 7)), join(' ', @ids, ($server->poll_all('users'))[-1]{id}),
	'read-only: once it is writable everything is there, with the same ids');
is((documents())[-1], 'while it was read-only', 'read-only: and what was written meanwhile');

# ---- another size
for my $wanted (8, 2)
{
	@ids = map { $_->{id} } $server->poll_all('users');
	$server->configure('changefeed.ring_size' => "${wanted}MB");
	$server->pg_stop;
	$server->pg_start;
	$server->wait_ready;
	is($server->status('capacity_bytes'), $wanted << 20, "ring_size = ${wanted}MB");
	is(join(' ', map { $_->{id} } $server->poll_all('users')), "@ids", "ring_size = ${wanted}MB: what fits is kept, with the same ids");
}

# ---- another size, and written over meanwhile: the records that are to be copied are none
my $capacity = 2 << 20;
for my $bytes ($garbage, "\0" x 65536)
{
	$cursor = write_confirmed();
	$server->make_slot_forget;
	$server->configure('changefeed.ring_size' => ($capacity + (1 << 20)) / 1024 . 'kB');
	$server->pg_stop;
	write_over((-s $ring) - $capacity, $bytes x ($capacity / 65536));
	$server->pg_start;
	is_told('written over and of another size', $cursor, qr/is made anew: the ring file is damaged/);
	$capacity += 1 << 20;
	is($server->status('capacity_bytes'), $capacity, 'written over and of another size: it has the size');
}

# ---- all of it is written over while nothing runs
$cursor = write_confirmed();
$server->make_slot_forget;
$server->pg_stop;
spew($ring, $garbage);
$server->pg_start;
is_told('written over while nothing runs', $cursor, qr/is made anew: not a ring file of this version/);

# ---- a file that never was a ring: a mistake in a setting, which must not cost it
$server->pg_stop;
unlink("$ring.lock") or die "$ring.lock: $!";
spew($ring, $garbage);
$server->pg_start;
ok(wait_for(sub { $server->log =~ /"\Q$ring\E" is no ring and is left alone/ }, 'the log says it'), 'no ring: the log says so');
is(slurp($ring), $garbage, 'no ring: it is what it was');
unlink($ring) or die "$ring: $!";
$server->wait_ready;
pass('no ring: a ring is made once it is gone');

# ---- who may read it: a group that may read the data directory (initdb --allow-group-access), for its backups, and nobody else
sub modes { return join(' ', map { sprintf('%o', (stat("$_[0]{data}/pg_changefeed$_"))[2] & 0777) } '', '/ring', '/ring.lock'); }

is(modes($server), '700 600 600', 'nobody else may read the ring');
my $shared = ChangefeedTest->new;
chmod(0750, $shared->{data}) or die "chmod: $!";
$shared->begin;
is(modes($shared), '750 640 640', 'where the group may read the data directory it may read the ring');

$server->never_restarted;

done_testing();
