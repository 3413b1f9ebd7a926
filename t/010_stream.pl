# Server-Sent Events: what a stream sends, and where it starts.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use File::Temp qw(tempdir);
use Test::More;
use Time::HiRes qw(time);

my $access_log = tempdir(CLEANUP => 1) . '/access.log';
my $server = ChangefeedTest->start(changefeed => {heartbeat => 1}, h2o => {'access-log' => $access_log});
$server->publish('users', 'id text PRIMARY KEY, name text, age int');
$server->publish('quiet', 'id int PRIMARY KEY');

# ---- the head and the first bytes
my $stream = $server->stream('/cdc/users');
is($stream->{status}, 200, 'a stream is answered with 200');
is($stream->{headers}{'content-type'}, 'text/event-stream', 'Content-Type');
is($stream->{headers}{'cache-control'}, 'no-store', 'Cache-Control');
is($stream->{headers}{'x-accel-buffering'}, 'no', 'X-Accel-Buffering');
my $first = $stream->block;
like($first->{retry}, qr/^\d+$/, 'the first block has a retry');
like($first->{id}, qr/^\d+(-\d+)?$/, 'and the id that the stream starts from');
ok(!defined $first->{data}, 'and fires no event');

# ---- the four operations
my $before_ms = int(time * 1000);
$server->sql(q{INSERT INTO users VALUES ('u1', 'Ann', 30);
	UPDATE users SET name = 'Anna' WHERE id = 'u1';
	DELETE FROM users WHERE id = 'u1';
	TRUNCATE users});
my @events = $stream->events(4);
is_deeply([map { $_->{event} } @events], [qw(insert update delete truncate)], 'events are named by operation, in lower case');
is_deeply([map { $_->{json}{operation} } @events], [qw(INSERT UPDATE DELETE TRUNCATE)], 'operation');
like($events[0]{data}, qr/^\{"collection":"users","operation":"INSERT","document_id":"u1","timestamp_ms":\d+,"lsn":\d+,/,
	'the five members come first and in order');
is_deeply([map { $_->{json}{document_id} } @events], ['u1', 'u1', 'u1', undef], 'document_id is the key, of a TRUNCATE null');
is_deeply($events[0]{json}{new}, {id => 'u1', name => 'Ann', age => 30}, 'new of an INSERT');
is_deeply($events[1]{json}{new}, {id => 'u1', name => 'Anna', age => 30}, 'new of an UPDATE');
is_deeply($events[2]{json}{old}, {id => 'u1'}, 'old of a DELETE is the replica identity');
ok(!exists $events[2]{json}{new}, 'a DELETE has no new');
ok(!exists $events[0]{json}{old}, 'an INSERT has no old');
for my $event (@events)
{
	my $change = $event->{json};
	is($event->{id}, $change->{id}, "$change->{operation}: id is in the data too");
	like($event->{id}, qr/^$change->{lsn}-1$/, "$change->{operation}: id is <lsn>-<n>");
	is($change->{schema}, 'public', "$change->{operation}: schema");
	like($change->{xid}, qr/^\d+$/, "$change->{operation}: xid");
	cmp_ok(abs($change->{timestamp_ms} - $before_ms), '<', 60_000, "$change->{operation}: timestamp_ms is the commit's time");
}

# ---- n counts over all collections of the transaction
my $both = $server->stream('/cdc/users,quiet');
$server->sql(q{BEGIN; INSERT INTO users VALUES ('a'); INSERT INTO quiet VALUES (1); INSERT INTO users VALUES ('b'); COMMIT});
is_deeply([map { $_->{json}{collection} . ' ' . $_->{id} =~ s/^.*-//r } $both->events(3)], ['users 1', 'quiet 2', 'users 3'],
	'a transaction over two collections: one order, one count');
is_deeply([map { $_->{id} =~ s/^.*-//r } $stream->events(2)], [1, 3], 'a stream of one of them sees its own');

# ---- what never arrives
$server->sql(q{CREATE TABLE unpublished (id int); INSERT INTO unpublished VALUES (1);
	BEGIN; INSERT INTO users VALUES ('aborted'); ROLLBACK;
	BEGIN; INSERT INTO users VALUES ('kept'); SAVEPOINT s; INSERT INTO users VALUES ('undone'); ROLLBACK TO s; COMMIT});
is($stream->event->{json}{document_id}, 'kept', 'aborted transactions and subtransactions are not seen');
$server->sql(q{BEGIN; INSERT INTO users VALUES ('prepared'); PREPARE TRANSACTION 'p'});
$server->sql(q{INSERT INTO users VALUES ('between')});
is($stream->event->{json}{document_id}, 'between', 'a prepared transaction is not seen yet');
$server->sql(q{COMMIT PREPARED 'p'});
is($stream->event->{json}{document_id}, 'prepared', 'and is at COMMIT PREPARED');
$server->sql(q{COPY users FROM STDIN;
c1	x	1
c2	y	2
\.
});
is_deeply([map { $_->{json}{document_id} } $stream->events(2)], [qw(c1 c2)], 'COPY');

# ---- keep-alive: id and nothing else; a reader of a quiet table moves on with the others' changes
my $quiet = $server->stream('/cdc/quiet');
my $start = $quiet->block->{id};
$server->sql(q{INSERT INTO users SELECT 'bulk' || i FROM generate_series(1, 100) i});
$server->wait_for_feed;
my $moved;
wait_for(sub { my $block = $quiet->block(5) or return; $moved = $block; ($block->{id} // '') ne $start }, 'the keep-alive moves the id');
ok(!defined $moved->{data}, 'a keep-alive fires no event');
my $behind = $server->stream('/cdc/quiet', headers => {'Last-Event-ID' => $moved->{id}});
$server->sql('INSERT INTO quiet VALUES (2)');
my $resumed = $behind->event;
is("$resumed->{event} $resumed->{data}" =~ s/^(\w+) .*"document_id":"(\d+)".*$/$1 $2/r, 'insert 2',
	'and its id is a cursor of this history: what comes next comes, and nothing else');

# ---- where a stream starts
my @all = $server->poll_all('users');
my @ids = map { $_->{id} } @all;
sub first_id
{
	my ($query, %header) = @_;
	my $event = $server->stream("/cdc/users$query", headers => \%header)->event;
	return $event ? $event->{id} : undef;
}
is(first_id('?since_lsn=earliest'), $ids[0], 'since_lsn=earliest');
is(first_id('?since_lsn=0'), $ids[0], 'since_lsn=0');
is(first_id('?since_lsn=0/0'), $ids[0], 'since_lsn=0/0');
is(first_id("?since_lsn=$ids[2]"), $ids[3], 'since_lsn=<event id>');
is(first_id("?last_event_id=$ids[2]"), $ids[3], 'last_event_id');
is(first_id("?lastEventId=$ids[2]"), $ids[3], 'lastEventId');
is(first_id('', 'Last-Event-ID' => $ids[2]), $ids[3], 'the header Last-Event-ID');
is(first_id("?last_event_id=$ids[4]&since_lsn=$ids[6]", 'Last-Event-ID' => $ids[2]), $ids[3], 'the header beats all');
is(first_id("?since_lsn=$ids[6]&last_event_id=$ids[4]"), $ids[5], 'last_event_id beats since_lsn');
is(first_id("?since_lsn=$ids[6]&since_ms=1"), $ids[7], 'since_lsn beats since_ms');
is(first_id('?since_ms=1'), $ids[0], 'since_ms before all changes');
my ($lsn) = $ids[4] =~ /^(\d+)/;
is(first_id("?since_lsn=$ids[4]"), $ids[5], 'inside a transaction: strictly after');
is(first_id("?since_lsn=$lsn"), $ids[4], 'a bare LSN: a transaction that ends after it');
is(first_id('?since_lsn=' . sprintf('%X/%X', $lsn >> 32, $lsn & 0xffffffff)), $ids[4], "PostgreSQL's notation of the same");
my $now = $server->stream('/cdc/users');
$server->sql(q{INSERT INTO users VALUES ('after')});
is($now->event->{json}{document_id}, 'after', 'without a start: from now on');
my $insert_lsn = $server->now_lsn;
$server->sql(q{INSERT INTO users VALUES ('after2')});
is($server->stream("/cdc/users?since_lsn=$insert_lsn")->event->{json}{document_id}, 'after2', 'pg_current_wal_insert_lsn() is a cursor');

# ---- data of every kind stays one line
my $text = "two\nlines\r\nand\rmore \x{2028} \\ \" \t \x{e9} \x{1f600}";
utf8::encode(my $bytes = $text);
$bytes =~ s/([^ -~]|['\\])/sprintf('\\x%02x', ord $1)/ge;
$server->sql("INSERT INTO users VALUES ('text', E'$bytes')");
is($now->event->{json}{document_id}, 'after2', 'a stream goes on');
is($now->event->{json}{new}{name}, $text, 'line ends, quotes and non-ASCII characters arrive as they are');

# ---- the access log has every byte of a stream's events
my $logged = $server->stream('/cdc/users?since_lsn=earliest&columns=id,logged');
$logged->event;
$server->sql(q{INSERT INTO users SELECT 'logged' || i, repeat('x', 1000) FROM generate_series(1, 20) i});
$logged->events_until(sub { ($_[0]{json}{document_id} // '') eq 'logged20' });
$logged->close;
my $line;
ok(wait_for(sub { ($line) = slurp($access_log) =~ m{^(.*columns=id,logged .*)$}m }, 'a line in the access log'),
	'a stream that has ended is in the access log');
my ($bytes_logged) = ($line // '') =~ / 200 (\d+) /;
cmp_ok($bytes_logged // 0, '>', 20 * 150, 'with what was sent: ' . ($bytes_logged // 'nothing') . ' bytes');

done_testing();
