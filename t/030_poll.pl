# Polling: pages, cursors, long poll, MessagePack; the same changes as a stream gives.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use ChangefeedTest::Msgpack;
use Test::More;
use Time::HiRes qw(time);

my $server = ChangefeedTest->start;
$server->publish('users', 'id text PRIMARY KEY, name text, score numeric');
$server->publish('quiet', 'id int PRIMARY KEY');

# ---- an empty collection
my $empty = $server->poll('/cdc/users/poll');
is_deeply([@$empty{qw(changes has_more count)}], [[], JSON::PP::false, 0], 'nothing yet');
ok(defined $empty->{next_cursor}{since_lsn}, 'next_cursor is never null');
is_deeply([$server->get('/cdc/users/poll')->{content} =~ /"(changes|next_cursor|has_more|count)":/g], [qw(changes next_cursor has_more count)],
	'the members of the document, in order');

# ---- pages
$server->sql(q{BEGIN; INSERT INTO users SELECT 'u' || i, 'name', i FROM generate_series(1, 10) i; COMMIT;
	UPDATE users SET score = 1.50 WHERE id = 'u1'; DELETE FROM users WHERE id = 'u2'});
$server->wait_for_feed;
my $response = $server->get('/cdc/users/poll');
is($response->{headers}{'content-type'}, 'application/json', 'Content-Type');
is($response->{headers}{'cache-control'}, 'no-store', 'Cache-Control');
my $page = $response->{json};
is($page->{count}, 12, 'count');
is(scalar @{$page->{changes}}, 12, 'as many changes');
ok(!$page->{has_more}, 'no more');
like($response->{content}, qr/\{"operation":"INSERT","document_id":"u1","timestamp_ms":\d+,"lsn":\d+,"collection":"users","id":"\d+-1"/,
	'the members of a change, in order');
is($page->{next_cursor}{since_lsn}, $page->{changes}[-1]{id}, 'the cursor is the last id, or what is behind it')
  unless $page->{next_cursor}{since_lsn} =~ /^\d+$/;
cmp_ok($page->{next_cursor}{since_ms}, '>', $page->{changes}[-1]{timestamp_ms} - 1, 'since_ms moves on too');

my @ids = map { $_->{id} } @{$page->{changes}};
my $exact = $server->poll('/cdc/users/poll?limit=12');
ok(!$exact->{has_more}, 'has_more is false on an exact fit');
my $cut = $server->poll('/cdc/users/poll?limit=11');
ok($cut->{has_more}, 'and true one below');
for my $limit (1, 3, 5)
{
	is_deeply([map { $_->{id} } $server->poll_all('users', limit => $limit)], \@ids, "limit=$limit: each change once, also inside a transaction");
}
my $stream = $server->stream('/cdc/users?since_lsn=earliest');
my @events = $stream->events(12);
is_deeply([map { $_->{id} } @events], \@ids, 'a stream gives the same');
is_deeply([map { json_text($_->{json}) } @events], [map { json_text($_) } @{$page->{changes}}], 'in every member');

# ---- has_more counts only what matches
$server->sql('INSERT INTO quiet SELECT generate_series(1, 5)');
$server->wait_for_feed;
ok(!$server->poll('/cdc/users/poll?limit=12')->{has_more}, "another collection's changes are not more");
ok(!$server->poll('/cdc/users/poll?limit=10&operations=insert')->{has_more}, 'nor are other operations');

# ---- an empty batch moves on
my $cursor = $server->poll('/cdc/quiet/poll')->{next_cursor}{since_lsn};
$server->sql(q{INSERT INTO users VALUES ('appended')});
$server->wait_for_feed;
my $next = $server->poll("/cdc/quiet/poll?since_lsn=$cursor")->{next_cursor}{since_lsn};
isnt($next, $cursor, 'the cursor of an empty batch moves with the others');
$server->sql('INSERT INTO quiet VALUES (100)');
$server->wait_for_feed;
is_deeply([map { $_->{document_id} } @{$server->poll("/cdc/quiet/poll?since_lsn=$next")->{changes}}], ['100'], 'and nothing is left out');
is($server->poll('/cdc/quiet/poll?since_lsn=now')->{count}, 0, 'since_lsn=now');

# ---- since_ms
my $last_ms = $page->{changes}[-1]{timestamp_ms};
is($server->poll('/cdc/users/poll?since_ms=0')->{count}, 13, 'since_ms=0 is all');
is($server->poll('/cdc/users/poll')->{count}, 13, 'and the default');
my $behind_first = $server->poll('/cdc/users/poll?limit=1');
is($behind_first->{next_cursor}{since_ms}, $behind_first->{changes}[0]{timestamp_ms} + 1,
	'the next since_ms is behind the whole millisecond, whatever the batch left of it');
ok(scalar(grep { $_->{id} eq $ids[-1] } @{$server->poll("/cdc/users/poll?since_ms=$last_ms")->{changes}}), 'since_ms includes its own millisecond');
is($server->poll('/cdc/users/poll?since_ms=' . int(time * 1000 + 3_600_000))->{count}, 0, 'since_ms in the future');
is($server->poll("/cdc/users/poll?since_ms=0&since_lsn=$ids[-1]")->{count}, 1, 'since_lsn overrides since_ms');

# Commits are not always in the order of their times: who waits at the end for a time gets what comes next, also if its time is earlier.
my $later = int(time * 1000 + 3_600_000);
my %asks = map { $_ => $server->stream("/cdc/quiet/poll?since_$_&wait=60", no_read => 1) } "ms=$later", 'lsn=now';
wait_for(sub { $server->metric('polls_waiting') == 2 }, 'two polls wait');
$server->sql('INSERT INTO quiet VALUES (101)');
for my $asked (sort keys %asks)
{
	my $answer = $asks{$asked}->body;
	my ($committed) = $answer =~ /"timestamp_ms":(\d+)/;
	my ($next_ms) = $answer =~ /"since_ms":(\d+)/;
	is($next_ms, $asked eq "ms=$later" ? $later : $committed + 1, "since_$asked: the next since_ms is not earlier, and nobody else's");
}

# ---- limits
is($server->poll('/cdc/users/poll?limit=1000000')->{count}, 13, 'a limit that is too high is clamped');
$server->sql(q{INSERT INTO quiet SELECT generate_series(1000, 12000)});
$server->wait_for_feed;
is($server->poll('/cdc/quiet/poll')->{count}, 100, 'the default is 100');
my $clamped = $server->poll('/cdc/quiet/poll?limit=20000');
is($clamped->{count}, 10_000, 'at most 10,000');
ok($clamped->{has_more}, 'and then there is more');

# ---- long poll
my $since = $server->poll('/cdc/users/poll?limit=10000')->{next_cursor}{since_lsn};
my $start = time;
is($server->poll("/cdc/users/poll?since_lsn=$since&wait=1")->{count}, 0, 'a long poll that nothing answers');
my $took = time - $start;
cmp_ok($took, '>=', 0.9, 'waits');
cmp_ok($took, '<', 10, 'and ends');
my $waiting = $server->stream("/cdc/users/poll?since_lsn=$since&wait=30", no_read => 1);
wait_for(sub { $server->metric('polls_waiting') == 1 }, 'a poll waits');
$start = time;
$server->sql(q{INSERT INTO quiet VALUES (200); INSERT INTO users VALUES ('awaited')});
like($waiting->body, qr/"document_id":"awaited"/, 'a change answers it');
cmp_ok(time - $start, '<', 10, 'long before its time is over');

# ---- an answer is shared by those who ask the same, and by nobody else, and not for longer than it is true
my $ask = '/cdc/users/poll?since_lsn=' . $ids[3] . '&limit=';
is($server->get($ask . 5)->{content}, $server->get($ask . 5)->{content}, 'the same question twice');
is($server->poll($ask . 4)->{count}, 4, 'another limit');
is($server->poll($ask . 5 . '&operations=delete')->{changes}[0]{operation}, 'DELETE', 'other operations');
is($server->poll($ask . 5 . '&payload=key')->{changes}[0]{new}, undef, 'another view');
my $last_page = $server->poll($ask . 1000);
ok(!$last_page->{has_more}, 'up to the end');
$server->sql(q{INSERT INTO users VALUES ('one more')});
$server->wait_for_feed;
my $longer = $server->poll($ask . 1000);
is($longer->{count}, $last_page->{count} + 1, 'the end has moved: the same question has another answer');
is($longer->{changes}[-1]{document_id}, 'one more', 'with the new change');
$server->sql(q{DELETE FROM users WHERE id = 'one more'});
$server->wait_for_feed;

# ---- MessagePack
for my $type ('application/msgpack', 'application/vnd.msgpack')
{
	my $packed = $server->get("/cdc/users/poll?limit=12", headers => {Accept => $type});
	like($packed->{headers}{'content-type'}, qr{^application/(?:vnd\.)?msgpack$}, "Accept: $type");
	my $document = ChangefeedTest::Msgpack::decode($packed->{content});
	my $plain = $server->poll('/cdc/users/poll?limit=12');
	is_deeply([map { "$_->{id} $_->{operation} " . ($_->{document_id} // '-') } @{$document->{changes}}],
		[map { "$_->{id} $_->{operation} " . ($_->{document_id} // '-') } @{$plain->{changes}}], 'the same changes');
	is_deeply([@$document{qw(count next_cursor has_more)}], [@$plain{qw(count next_cursor has_more)}], 'the same rest');
	is_deeply([map { $_->{new}{name} } @{$document->{changes}}], [map { $_->{new}{name} } @{$plain->{changes}}], 'the same rows');
}
is($server->get('/cdc/users/poll', headers => {Accept => 'application/json, application/msgpack;q=0.5'})->{headers}{'content-type'}, 'application/json',
	'JSON where it is preferred');
is($server->get('/cdc/users/poll', headers => {Accept => 'application/json; q=0.9, application/msgpack; q=0.5'})->{headers}{'content-type'}, 'application/json',
	'with the blanks that may stand before the weight');
is($server->get('/cdc/users/poll', headers => {Accept => ['application/json;q=0.5', 'application/msgpack']})->{headers}{'content-type'}, 'application/msgpack',
	'several headers are one list');
is($server->get('/cdc/users/poll', headers => {Accept => '*/*'})->{headers}{'content-type'}, 'application/json', 'JSON for */*');

# ---- a batch ends when it has 8 MB; those who ask for it one after the other are sent the same memory
$server->publish('large', 'id int PRIMARY KEY, filler text');
$server->sql(q{INSERT INTO large SELECT i, repeat('x', 1000000) FROM generate_series(1, 12) i});
$server->wait_for_feed;
my %packed = (headers => {Accept => 'application/msgpack'});    # JSON::PP takes long for it
my $full = $server->get('/cdc/large/poll', %packed)->{content};
my @batches = (ChangefeedTest::Msgpack::decode($full));
cmp_ok(length($full), '>', 8e6, "a batch of large rows has $batches[0]{count} of 12");
cmp_ok(length($full), '<', 10e6, 'which is not much more than 8 MB');
push @batches, ChangefeedTest::Msgpack::decode($server->get("/cdc/large/poll?since_lsn=$batches[0]{next_cursor}{since_lsn}", %packed)->{content});
is(join(' ', map { $_->{document_id} } map { @{$_->{changes}} } @batches), join(' ', 1 .. 12), 'and the next batch has the others');
ok($batches[0]{has_more} && !$batches[1]{has_more}, 'as has_more says');
my $workers = $server->processes->{workers};
my $before_kb = ChangefeedTest::anonymous_kb(@$workers);
my @crowd;
for (1 .. 20)
{
	push @crowd, $server->stream('/cdc/large/poll', no_read => 1, %packed);
	$crowd[-1]{select}->can_read(ChangefeedTest::DEADLINE) or fail('a poll is answered');
}
my $grown_mb = (ChangefeedTest::anonymous_kb(@$workers) - $before_kb) / 1024;
cmp_ok($grown_mb, '<', 80, sprintf('20 who ask the same, and do not take it yet, are held %.0f MB, not %.0f', $grown_mb, 20 * length($full) / 2**20));
undef @crowd;

# ---- malformed
for my $query ('limit=0', 'limit=-1', 'limit=ten', 'limit=', 'wait=-1', 'wait=x', 'since_ms=x', 'since_ms=-1', 'since_lsn=x', 'since_lsn=1-2-3',
	'since_lsn=99999999999999999999', 'on_gap=perhaps', 'operations=insert,drop', 'payload=none')
{
	my $refused = $server->get("/cdc/users/poll?$query");
	is($refused->{status}, 400, "$query: 400");
	like($refused->{json}{detail} // '', qr/\w/, 'with a detail');
}

done_testing();
