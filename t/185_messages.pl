# Messages of pg_logical_emit_message(): where they are turned on they come in their place, with ids that a client resumes by.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use ChangefeedTest::Msgpack;
use MIME::Base64;
use Test::More;

my $server = ChangefeedTest->new(changefeed => {heartbeat => 1, messages => 'ON'});
$server->{h2o}{hosts}{default}{paths}{'/quiet'} = {changefeed => 'ON'};
$server->{h2o}{hosts}{default}{paths}{'/tenants'} = {changefeed => {messages => 'ON', 'tenant-column' => 'tenant'}};
$server->begin;
$server->publish('t', 'id int PRIMARY KEY, tenant int');
$server->publish('u', 'id int PRIMARY KEY');
my $start = $server->now_lsn;

sub emit { my ($transactional, $prefix, $content) = @_; return "SELECT pg_logical_emit_message($transactional, '$prefix', $content)"; }

# What is told of an event: i1 an insert of 1, m:a a message with the prefix a.
sub brief { return [map { $_->{operation} eq 'MESSAGE' ? "m:$_->{prefix}" : lc(substr($_->{operation}, 0, 1)) . ($_->{document_id} // '') } @_]; }

# ---- one by one
my $stream = $server->stream('/cdc/t');
$server->sql(emit('true', 'jobs', q{'done "well"'}));
my $event = $stream->event;
my $json = $event->{json};
my ($lsn) = $event->{id} =~ /^(\d+)-0$/;
ok($lsn, 'the id of a message ends with -0');
is($event->{event}, 'message', 'event: message');
like($json->{xid}, qr/^\d+$/, 'the xid of its transaction');
ok(abs($json->{timestamp_ms} / 1000 - time) < 60, 'the time of its commit');
is_deeply({%$json, xid => 1, timestamp_ms => 1},
	{collection => undef, operation => 'MESSAGE', document_id => undef, timestamp_ms => 1, lsn => $lsn, id => "$lsn-0", schema => undef, xid => 1,
		transactional => JSON::PP::true, prefix => 'jobs', content => 'done "well"'}, 'the document');
like($event->{data}, qr/^\{"collection":null,"operation":"MESSAGE","document_id":null,"timestamp_ms":\d+,"lsn":\d+,"id":"/, 'begins as any other');

my $before = $server->now_lsn;
my $returned = $server->sql("SELECT l - '0/0' FROM pg_logical_emit_message(false, 'now', '') l");
$event = $stream->event;
is($event->{json}{lsn}, $returned - 1, 'the LSN of a message that belongs to no transaction is that of its last byte');
is_deeply([@{$event->{json}}{qw(xid transactional prefix content)}], [undef, JSON::PP::false, 'now', ''], 'one that belongs to no transaction');
is($event->{id}, $event->{json}{lsn} . '-0', 'has the LSN of its own record');
is(brief($server->poll_all('t', since => $before))->[0], 'm:now', 'which an LSN read before it precedes');
is(scalar($server->poll_all('t', since => $event->{id})), 0, 'and its id does not');
$server->sql('BEGIN; INSERT INTO u VALUES (100); ' . emit('false', 'kept', q{'x'}) . '; ROLLBACK');
is($stream->event->{json}{prefix}, 'kept', 'it outlives a ROLLBACK');
$server->sql('BEGIN; ' . emit('true', 'undone', q{'x'}) . '; ROLLBACK; ' . emit('true', 'next', q{'x'}));
is($stream->event->{json}{prefix}, 'next', 'a transactional one does not');
$server->sql(emit('true', 'bytes', q{'\\x00ff80'::bytea}) . '; ' . emit('true', 'nul', q{'\\x610062'::bytea}) . '; '
	. emit('true', q{pré"fix}, q{'Grüße' || chr(10) || chr(8232)}));
my @bytes = $stream->events(3);
is_deeply([@{$bytes[0]{json}}{qw(content base64)}], [encode_base64("\x00\xff\x80", ''), JSON::PP::true], 'bytes that are not UTF-8 are given in base64');
is_deeply([@{$bytes[1]{json}}{qw(content base64)}], ["a\x00b", undef], 'bytes that are, as text');
is_deeply([@{$bytes[2]{json}}{qw(prefix content)}], ["pr\x{e9}\"fix", "Gr\x{fc}\x{df}e\n\x{2028}"], 'text is text');

# ---- among changes: ids of changes do not depend on them, and from each id the rest follows
my $mixed = $server->now_lsn;
$server->sql('BEGIN; ' . emit('true', 'a', q{'1'}) . '; ' . emit('true', 'b', q{'2'}) . '; INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); '
	  . emit('true', 'c', q{'3'}) . '; ' . emit('true', 'd', q{'4'}) . '; '
		. emit('false', 'e', q{'5'}) . '; INSERT INTO u VALUES (3); ' . emit('true', 'f', q{'6'}) . '; COMMIT;'
	  . 'INSERT INTO t VALUES (4); ' . emit('false', 'g', q{'7'}) . '; ' . emit('false', 'h', q{'8'}));
my @wanted = qw(m:e m:a m:b i1 i2 m:c m:d i3 m:f i4 m:g m:h);
$server->wait_for_feed;
my @all = $server->poll_all('*', since => $mixed);
is_deeply(brief(@all), \@wanted, 'messages come where they were emitted, those of no transaction at once');
my ($commit) = $all[3]{id} =~ /^(\d+)-1$/;
is_deeply([map { $_->{id} } @all[1 .. 8]], [map { "$commit-$_" } qw(0 0.0.2 1 2 0.2.1 0.2.2 3 0.3.1)], 'n counts changes only, and is 0 of messages');
is_deeply([map { $_->{lsn} } @all[1 .. 8]], [($commit) x 8], 'lsn is the commit\'s');
my %seen;
is(scalar(grep { $seen{$_->{id}}++ } @all), 0, 'no id comes twice');
for my $i (0 .. $#all)
{
	is_deeply(brief($server->poll_all('*', since => $all[$i]{id}, limit => 2)), [@wanted[$i + 1 .. $#wanted]], "poll behind $all[$i]{id} ($wanted[$i])");
	my @rest = map { $_->{json} } $server->stream('/cdc/*', headers => {'Last-Event-ID' => $all[$i]{id}})->events($#all - $i);
	is_deeply(brief(@rest), [@wanted[$i + 1 .. $#wanted]], 'and a stream');
}
is_deeply(brief($server->poll_all('t', since => $mixed)), [grep { $_ ne 'i3' } @wanted], 'a stream of one table has all messages');
is_deeply(brief($server->poll_all('*', since => $mixed, parameters => '&operations=message')), [grep { /^m/ } @wanted], 'operations=message');
is_deeply(brief($server->poll_all('*', since => $mixed, parameters => '&operations=insert,delete')), [grep { /^i/ } @wanted], 'operations without it');
my @plain = $server->get("/quiet/*/poll?since_lsn=$mixed")->{json}{changes};
is_deeply(brief(@{$plain[0]}), [grep { /^i/ } @wanted], 'where they are not turned on there are none');
is_deeply([map { $_->{id} } @{$plain[0]}], [map { $_->{id} } grep { $_->{operation} ne 'MESSAGE' } @all], 'and the ids of changes are the same');
is($server->get('/quiet/*/poll?operations=message')->{status}, 400, 'asking for them there is refused');
is_deeply(brief(@{$server->get("/tenants/t/poll?tenant_id=7&since_lsn=$mixed")->{json}{changes}}), [grep { /^m/ } @wanted], 'they concern every tenant');
is_deeply(brief($server->poll_all('*', since => "$commit-0.9.9")), [@wanted[9 .. 11]], 'a place behind all of the transaction');
is($server->sql(q{SELECT string_agg(operation, ',') FROM changefeed.changes('t', '} . $mixed . q{')}), 'INSERT,INSERT,INSERT',
	'changefeed.changes() has rows of the table only');

# ---- a commit record right behind a message has the LSN that the message's record ends with
my $behind = $server->now_lsn;
$server->sql('BEGIN; ' . emit('true', 'a', q{''}) . '; INSERT INTO t VALUES (5); ' . emit('false', 'b', q{''}) . '; COMMIT');
$server->wait_for_feed;
my @close = $server->poll_all('*', since => $behind);
is_deeply(brief(@close), [qw(m:b m:a i5)], 'a message right before a commit record hides nothing of that transaction');
is($close[0]{lsn} + 1, $close[1]{lsn}, 'they do lie side by side');
for my $i (0 .. $#close)
{
	is(scalar($server->poll_all('*', since => $close[$i]{id})), $#close - $i, "behind $close[$i]{id}");
}
is(scalar($server->poll_all('*', since => $close[1]{lsn})), 2, 'the LSN between them');

# ---- a long poll and a live stream of another table
my $waiting = $server->stream('/cdc/u');
$waiting->block;
$server->sql(emit('true', 'live', q{'x'}));
is($waiting->event->{json}{prefix}, 'live', 'live');

# ---- views and formats
my $key = $server->poll("/cdc/t/poll?limit=1&payload=key&operations=message&since_lsn=$mixed")->{changes}[0];
is_deeply([exists $key->{content} ? 1 : 0, $key->{prefix}], [0, 'e'], 'payload=key leaves out the content');
my ($bytes_id) = $bytes[0]{id} =~ /^(\d+)/;
$bytes_id = "0/" . sprintf('%X', $bytes_id);
my $debezium = $server->poll("/cdc/t/poll?limit=1&format=debezium&since_lsn=$bytes_id")->{changes}[0];
is_deeply($debezium->{message}, {prefix => 'bytes', content => encode_base64("\x00\xff\x80", '')}, 'debezium: prefix, and content in base64');
is_deeply([@{$debezium}{qw(op before after)}, @{$debezium->{source}}{qw(schema table lsn txId)}], ['m', undef, undef, '', '', @{$bytes[0]{json}}{qw(lsn xid)}],
	'op m, of no table');
ok(!exists $debezium->{before}, 'without rows');
my $cloud = $server->get("/cdc/t/poll?limit=1&format=cloudevents&since_lsn=$bytes_id")->{json}[0];
is_deeply([@{$cloud}{qw(type subject id)}, $cloud->{data}{content}], ['pg_changefeed.message', 'bytes', $bytes[0]{id}, encode_base64("\x00\xff\x80", '')],
	'cloudevents: the prefix is the subject');
my $packed = ChangefeedTest::Msgpack::decode($server->get("/cdc/t/poll?limit=3&since_lsn=$bytes_id", headers => {Accept => 'application/msgpack'})->{content});
my @packed = @{$packed->{changes}};
is_deeply([map { $_->{content} } @packed], ["\x00\xff\x80", "a\x00b", "Gr\x{fc}\x{df}e\n\x{2028}"], 'MessagePack: bin or str');
is_deeply({%{$packed[1]}, transactional => 1}, {%{$bytes[1]{json}}, transactional => 1}, 'otherwise the same document');

# ---- one that is too large for the ring is announced without its content
my $before_huge = $server->now_lsn;
$server->sql(emit('true', 'huge', q{repeat('x', (SELECT (capacity_bytes / 4)::int FROM changefeed.status()))}) . '; ' . emit('true', 'small', q{'x'}));
$server->wait_for_feed;
my @announced = $server->poll_all('t', since => $before_huge);
is_deeply([map { [@$_{qw(operation oversize content)}] } @announced], [['MESSAGE', JSON::PP::true, undef], ['MESSAGE', undef, 'x']],
	'a message of a quarter of the ring');

# ---- times need not be in order: a message has that of its sending, and here the walsender comes to it late
my $late = $server->now_lsn;
my $walsender = $server->sql('SELECT active_pid FROM pg_replication_slots');
kill('STOP', $walsender) or die "kill: $!";
$server->sql(emit('false', 'late', q{'x'}));
$server->sql('INSERT INTO t VALUES (40)');
my $written = time;
wait_for(sub { time > $written + 1 }, 'time passes');
kill('CONT', $walsender);
$server->wait_for_feed;
my $mixed_times = $server->get("/cdc/t/poll?since_lsn=$late")->{json};
my ($sent, $committed) = map { $_->{timestamp_ms} } @{$mixed_times->{changes}};
cmp_ok($sent, '>', $committed, 'the message was sent after the commit behind it');
is($mixed_times->{next_cursor}{since_ms}, $sent + 1, 'next_cursor.since_ms does not go backwards');

# ---- after crashes of the feed and of the server the ids are the same
my @history = map { $_->{id} } $server->poll_all('*', since => $start);
my $feed = $server->processes->{feed};
kill 'KILL', $feed;
$server->sql('BEGIN; INSERT INTO t VALUES (50); ' . emit('true', 'after', q{'x'}) . '; COMMIT; '
	. emit('false', 'crash', q{'x'}) . '; INSERT INTO t VALUES (51)');
$server->pg_stop('immediate');
$server->pg_start;
$server->wait_ready;
$server->wait_for_feed;
my @again = $server->poll_all('*', since => $start);
is_deeply([map { $_->{id} } @again[0 .. $#history]], \@history, 'the same ids after kill -9 and a crash');
is_deeply(brief(@again[$#history + 1 .. $#again]), [qw(i50 m:after m:crash i51)], 'and what came meanwhile, once');

done_testing();
