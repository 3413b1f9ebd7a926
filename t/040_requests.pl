# Requests: which are refused and how, filters, and the pages beside the changes.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use ChangefeedTest::Msgpack;
use JSON::PP ();
use List::Util qw(min);
use Test::More;
use Time::HiRes qw(time);

my $server = ChangefeedTest->start(changefeed => {heartbeat => 1, 'tenant-column' => 'tenant', cors => ['https://app.example']});
$server->publish('users', 'id text PRIMARY KEY, name text, age int');
$server->publish('orders', 'id int PRIMARY KEY, tenant int, note text');

# ---- the feed is asked about what nobody knows; nobody has a stream yet
my @took = map { my $asked = time; $server->get('/cdc/nosuch/poll'); time - $asked } 1 .. 10;
cmp_ok(min(@took), '<', 0.04, 'the feed wakes a worker that asked it, which would look by itself after 50 ms');

sub is_problem
{
	my ($response, $status, $detail, $what) = @_;
	is($response->{status}, $status, "$what: $status");
	is($response->{headers}{'content-type'}, 'application/problem+json', "$what: a problem document");
	is($response->{headers}{'cache-control'}, 'no-store', "$what: which is not to be stored");
	is($response->{json}{status}, $status, "$what: its status");
	like($response->{json}{detail}, $detail, "$what: its detail");
	return $response;
}

# Takes a table out of the publication, and waits until it is not served any more.
sub unpublish
{
	my (@tables) = @_;
	$server->sql("ALTER PUBLICATION changefeed DROP TABLE $_") for @tables;
	wait_for(sub { !grep { $server->get('/cdc/' . s/"//gr . '/poll')->{status} != 404 } @tables }, "@tables: unpublished");
	return;
}

# ---- refused
is_problem($server->get('/cdc/nosuch'), 404, qr/ALTER PUBLICATION/, 'an unknown collection');
is_problem($server->get('/cdc/users,nosuch'), 404, qr/nosuch/, 'one of a list is unknown');
$server->sql('CREATE TABLE hidden (id int)');
is_problem($server->get('/cdc/hidden/poll'), 404, qr/ALTER PUBLICATION changefeed ADD TABLE/, 'a table that is not published');
is_problem($server->get('/cdc/users', headers => {'Last-Event-ID' => 'x'}), 400, qr/cursor|Last-Event-ID/i, 'a malformed Last-Event-ID');
is($server->stream('/cdc/users', headers => {'Last-Event-ID' => "now \t "})->{status}, 200, 'blanks behind Last-Event-ID are none of it');
is_problem($server->get('/cdc/users?since_lsn=1-2-3'), 400, qr/since_lsn/, 'a malformed since_lsn');
is_problem($server->get('/cdc/users?operations=insert,drop'), 400, qr/drop|operations/, 'an unknown operation');
is_problem($server->get('/cdc/%ff'), 400, qr/UTF-8/, 'a name that is not UTF-8');
is_problem($server->get('/cdc/users%'), 400, qr/percent/i, 'a broken percent-encoding');
is_deeply([sort map { $_->{path} } @{$server->get('/cdc/')->{json}{collections}}], ['/cdc/orders', '/cdc/users'], 'no name: the list, as without the slash');
is_problem($server->get('/cdc/users/nosuch'), 404, qr/\w/, 'no such page of a collection');
for my $method (qw(POST PUT DELETE PATCH))
{
	my $response = is_problem($server->get('/cdc/users', method => $method), 405, qr/GET/, $method);
	like($response->{headers}{allow} // '', qr/\bGET\b/, "$method: Allow");
}
is($server->get('/cdc/users', method => 'HEAD')->{status}, 200, 'HEAD of a stream ends');
is_deeply([@{$server->get('/cdc/users', method => 'HEAD')->{headers}}{qw(content-type cache-control x-accel-buffering content-length)}],
	['text/event-stream', 'no-store', 'no', undef], 'HEAD of a stream has its head, and no length');
is($server->get('/cdc/users/poll', method => 'HEAD')->{content} // '', '', 'HEAD of a poll has no body');
is($server->get('/cdc/users?unknown=1&since_lsn=x')->{status}, 400, 'an unknown parameter hides nothing');
is($server->get('/cdc/users/poll?unknown=1')->{status}, 200, 'and is ignored by itself');
is($server->get('/cdc/' . 'x' x 5000)->{status} >= 400, 1, 'a very long name');

# ---- operations, columns, payload
$server->sql(q{INSERT INTO users VALUES ('u1', 'Ann', 30); UPDATE users SET age = 31; DELETE FROM users; TRUNCATE users});
$server->wait_for_feed;
sub operations { return join(' ', map { $_->{operation} } @{$server->poll("/cdc/users/poll?$_[0]")->{changes}}); }
is(operations('operations=insert'), 'INSERT', 'operations=insert');
is(operations('operations=update,delete'), 'UPDATE DELETE', 'operations=update,delete');
is(operations('operations=truncate'), 'TRUNCATE', 'operations=truncate');
my $stream = $server->stream('/cdc/users?operations=delete&since_lsn=earliest');
is($stream->event->{event}, 'delete', 'a stream of deletions');
is_deeply($server->poll('/cdc/users/poll?columns=age')->{changes}[0]{new}, {id => 'u1', age => 30}, 'columns: the key stays');
ok(!exists $server->poll('/cdc/users/poll?payload=key')->{changes}[0]{new}, 'payload=key: no new');
ok(!exists $server->poll('/cdc/users/poll?payload=key')->{changes}[2]{old}, 'payload=key: no old');
is($server->poll('/cdc/users/poll?payload=key')->{changes}[0]{document_id}, 'u1', 'payload=key: document_id');

# ---- lists and *
$server->sql(q{INSERT INTO orders VALUES (1, 1, 'x'); INSERT INTO users VALUES ('u2')});
$server->wait_for_feed;
my @both = map { $_->{collection} } @{$server->poll('/cdc/users,public.orders/poll')->{changes}};
is_deeply(\@both, [('users') x 4, 'orders', 'users'], 'a list, in the order of commits');
is_deeply([map { $_->{collection} } @{$server->poll('/cdc/*/poll')->{changes}}], \@both, '*');
my $any = $server->stream('/cdc/*');
$server->publish('later', 'id int PRIMARY KEY');
$server->sql('INSERT INTO later VALUES (1)');
is($any->event->{json}{collection}, 'later', 'a stream of * sees a table that is published later');

$server->sql('CREATE TABLE "Twin" (id int PRIMARY KEY)');
$server->publish('twin', 'id int PRIMARY KEY');
is($server->get('/cdc/Twin/poll')->{status}, 200, 'a name is looked up in lower case, too');
$server->sql('ALTER PUBLICATION changefeed ADD TABLE "Twin"');
my $twin = $server->stream('/cdc/Twin');
$server->sql('INSERT INTO twin VALUES (1); INSERT INTO "Twin" VALUES (2)');
is($twin->event->{json}{collection}, 'Twin', 'but not if there is one that is written so, from the moment that it is published');
unpublish('twin', '"Twin"');

# ---- tenants
$server->sql(q{INSERT INTO orders VALUES (2, 2, 'of tenant 2'), (3, NULL, 'of none')});
$server->wait_for_feed;
sub documents { return join(' ', map { $_->{document_id} } @{$server->poll("/cdc/orders/poll$_[0]")->{changes}}); }
is(documents(''), '1 3', 'without tenant_id: tenant 1, to whom rows without a tenant belong');
is(documents('?tenant_id=1'), '1 3', 'tenant_id=1');
is(documents('?tenant_id=2'), '2', 'tenant_id=2');
is(documents('?tenant_id=3'), '', 'tenant_id=3');
is($server->poll('/cdc/users/poll?tenant_id=2&operations=insert')->{count}, 0, 'a table without the column is not of tenant 2');
my $second = $server->stream('/cdc/orders?tenant_id=2');
$server->sql(q{INSERT INTO orders VALUES (4, 1, 'x'), (5, 2, 'y')});
is($second->event->{json}{document_id}, '5', 'a stream of tenant 2');
$server->sql('DELETE FROM orders WHERE id = 5');
$server->wait_for_feed;
is(documents('?operations=delete'), '5', 'a DELETE whose replica identity lacks the column is told to tenant 1');
is(documents('?operations=delete&tenant_id=2'), '', 'and to nobody else');

# a row that moves from one tenant to another
$server->publish('moving', 'tenant int, id int, note text, PRIMARY KEY (tenant, id)');
my $moved = $server->now_lsn;
my @moves = map { $server->stream("/cdc/moving?tenant_id=$_&since_lsn=$moved") } 0, 2, 3;
$server->sql(q{INSERT INTO moving VALUES (2, 1, 'of 2'); UPDATE moving SET tenant = 3, note = 'of 3'; UPDATE moving SET note = 'still of 3'});
sub told { return [map { [@$_{qw(operation document_id new old)}] } @_]; }
my %of3 = (tenant => 3, id => 1);
my @to2 = (['INSERT', '[2,1]', {tenant => 2, id => 1, note => 'of 2'}, undef], ['DELETE', '[2,1]', undef, {tenant => 2, id => 1}]);
my @to3 = (['INSERT', '[3,1]', {%of3, note => 'of 3'}, undef], ['UPDATE', '[3,1]', {%of3, note => 'still of 3'}, undef]);
my @seen2 = $moves[1]->events(2);
is_deeply(told(map { $_->{json} } @seen2), \@to2, 'is a DELETE to the one');
is($seen2[1]{event}, 'delete', 'also by its event');
my @seen3 = $moves[2]->events(2);
is_deeply(told(map { $_->{json} } @seen3), \@to3, 'and an INSERT to the other');
is($seen3[0]{id}, $seen2[1]{id}, 'of the same id');
sub moving { return $server->get("/cdc/moving/poll?since_lsn=$moved&tenant_id=$_[0]", @_[1 .. $#_]); }
is_deeply(told(@{moving(2)->{json}{changes}}), \@to2, 'so it is in a poll');
is_deeply(told(@{ChangefeedTest::Msgpack::decode(moving(3, headers => {Accept => 'application/msgpack'})->{content})->{changes}}), \@to3, 'in MessagePack');
is(join(' ', map { $_->{op} } @{moving('2&format=debezium')->{json}{changes}}), 'c d', "in Debezium's form");
is(join(' ', map { $_->{type} } @{moving('3&format=cloudevents')->{json}}), 'pg_changefeed.insert pg_changefeed.update', 'in CloudEvents');
is_deeply(told(@{moving('2&operations=update')->{json}{changes}}), [$to2[1]], 'operations counts it as the UPDATE that it is');
is(moving(0)->{json}{count}, 0, 'and nobody else is told');
is($server->sql(q{SELECT string_agg(operation, ' ' ORDER BY lsn, n) FROM changefeed.changes('moving')}), 'INSERT UPDATE UPDATE', 'in SQL there are no tenants');
$server->sql(q{ALTER TABLE moving DROP CONSTRAINT moving_pkey, ALTER tenant DROP NOT NULL, REPLICA IDENTITY FULL});
$moved = $server->now_lsn;
$server->sql(q{UPDATE moving SET tenant = NULL; UPDATE moving SET tenant = 1; UPDATE moving SET tenant = 2});
$server->wait_for_feed;
is(join(' ', map { $_->{operation} } @{moving($_->[0])->{json}{changes}}), $_->[1], "tenant $_->[0], rows whose tenant is null between 3 and 1 and 2: $_->[1]")
  for [3, 'DELETE'], [1, 'INSERT UPDATE DELETE'], [2, 'INSERT'];

# tenants that are no number
$server->publish('digest', 'id int PRIMARY KEY, tenant bytea');
$server->publish('several', 'id int PRIMARY KEY, tenant int[]');
$server->sql(q{INSERT INTO digest VALUES (1, '\\x0aff'); INSERT INTO several VALUES (1, '{2}')});
$server->wait_for_feed;
is($server->poll("/cdc/$_->[0]/poll?tenant_id=$_->[1]")->{count}, $_->[2], "$_->[0], tenant $_->[1]: $_->[2]")
  for ['digest', '%5Cx0aff', 1], ['digest', '1', 0], ['several', '1', 1], ['several', '2', 0];
unpublish(qw(moving digest several));

# a tenant that PostgreSQL stores apart from its row, and does not send with an UPDATE of other columns
$server->publish('wide', 'id int PRIMARY KEY, tenant text, filler text, v int');
my $long = '7' x 200;
$server->sql(qq{ALTER TABLE wide ALTER tenant SET STORAGE EXTERNAL, ALTER filler SET STORAGE PLAIN;
	INSERT INTO wide VALUES (1, '$long', repeat('x', 1950), 1); UPDATE wide SET v = 2});
$server->wait_for_feed;
sub wide { return [map { [@$_{qw(operation document_id new oversize)}] } @{$server->poll("/cdc/wide/poll?columns=id,v$_[0]")->{changes}}]; }
my $unknown = ['UPDATE', undef, undef, JSON::PP::true];
is_deeply(wide("&tenant_id=$long"), [['INSERT', 1, {id => 1, v => 1}, undef], $unknown], 'a tenant that is not sent: the tenant is told');
is_deeply(wide(''), [$unknown], 'and so are all others, of no more than that there was a change');
unpublish('wide');

# ---- what there is
my $list = $server->get('/cdc');
is($list->{status}, 200, 'GET /cdc');
is_deeply([sort map { "$_->{schema}.$_->{name} $_->{path}" } @{$list->{json}{collections}}],
	['public.later /cdc/later', 'public.orders /cdc/orders', 'public.users /cdc/users'], 'the collections');
is($list->{json}{feed}{state}, 'streaming', 'what the feed does');
like($list->{json}{feed}{lag_bytes} // '', qr/^\d+$/, 'how far it is behind');
my $ring = $list->{json}{ring};
cmp_ok($ring->{capacity_bytes}, '>=', 16 * 1024 * 1024, "the ring's capacity");
cmp_ok($ring->{retained_bytes}, '>', 0, 'what it retains');
is($server->poll("/cdc/*/poll?since_lsn=$ring->{oldest}")->{changes}[0]{id}, ($server->poll_all('*'))[0]{id}, 'its oldest end, as a cursor');
is($server->poll("/cdc/*/poll?since_lsn=$ring->{newest}")->{count}, 0, 'its newest end, as a cursor');
like($ring->{streamed_lsn}, qr/^\d+$/, 'how far it goes');
like($server->get('/healthz')->{status}, qr/^200$/, '/healthz');
like($server->get('/readyz')->{status}, qr/^200$/, '/readyz');

# ---- metrics: Prometheus' text format
my $metrics = $server->get('/metrics');
like($metrics->{headers}{'content-type'}, qr{^text/plain; version=0\.0\.4}, 'metrics: Content-Type');
my (%described, @malformed);
for my $line (split /\n/, $metrics->{content})
{
	next if $line =~ /^# (HELP|TYPE) (\w+) / && ++$described{$2}{$1};
	push @malformed, $line unless $line =~ /^([a-z_][a-z0-9_]*)(\{[^}]*\})? -?[0-9.e+-]+$/ && $described{$1}{TYPE} && $described{$1}{HELP};
}
is_deeply(\@malformed, [], 'metrics: every line is a described sample');
ok(!(grep { !/^pg_changefeed_|^changefeed_/ } keys %described), 'metrics: names have a prefix');
my ($delivered) = grep { /^pg_changefeed_events_total$/ } keys %described;
sub metric
{
	my ($name) = @_;
	my $sum = 0;
	$sum += $_ for $server->get('/metrics')->{content} =~ /^\Q$name\E(?:\{[^}]*\})? ([0-9.e+]+)$/mg;
	return $sum;
}
my $before = metric($delivered);
my $counted = $server->stream('/cdc/users');
$server->sql(q{INSERT INTO users SELECT 'm' || i FROM generate_series(1, 50) i});
$counted->events(50);
wait_for(sub { metric($delivered) >= $before + 50 }, 'metrics: delivered events are counted');
my ($oldest, $newest) = map { metric("pg_changefeed_$_") } qw(ring_oldest_timestamp_seconds last_commit_timestamp_seconds);
ok($oldest > time - 300 && $oldest <= $newest && $newest <= time, "metrics: how far the ring reaches ($oldest to $newest)");

# ---- CORS
my $allowed = $server->get('/cdc/users/poll', headers => {Origin => 'https://app.example'});
is($allowed->{headers}{'access-control-allow-origin'}, 'https://app.example', 'CORS: an origin of the list');
like($allowed->{headers}{vary} // '', qr/origin/i, 'CORS: Vary');
ok(!exists $server->get('/cdc/users/poll', headers => {Origin => 'https://evil.example'})->{headers}{'access-control-allow-origin'}, 'CORS: no other');
my $preflight = $server->get('/cdc/users', method => 'OPTIONS',
	headers => {Origin => 'https://app.example', 'Access-Control-Request-Method' => 'GET', 'Access-Control-Request-Headers' => 'last-event-id'});
like($preflight->{status}, qr/^20[04]$/, 'CORS: a preflight is answered');
like($preflight->{headers}{'access-control-allow-headers'} // '', qr/last-event-id/i, 'CORS: Last-Event-ID may be sent');
is($server->get('/cdc/nosuch', headers => {Origin => 'https://app.example'})->{headers}{'access-control-allow-origin'}, 'https://app.example',
	'CORS: errors can be read too');
is($server->get('/cdc/users?x=' . 'x' x 20_000, headers => {Origin => 'https://app.example'})->{headers}{'access-control-allow-origin'}, 'https://app.example',
	'CORS: also those of the limits');
is($server->stream('/cdc/users', headers => {Origin => 'https://app.example'})->{headers}{'access-control-allow-origin'}, 'https://app.example',
	'CORS: streams');

# ---- the console
my $console = $server->get('/');
is($console->{status}, 200, 'GET / is the console');
like($console->{headers}{'content-type'}, qr{^text/html}, 'a page');
is($server->get('/nosuch')->{status}, 404, 'nothing else is');

# ---- hostile bytes do no harm
for my $bytes ("\0\0\0\0", "GET /cdc/users HTTP/1.1\r\nHost: x\r\nLast-Event-ID: \r\n 1-1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" . "\xff" x 100,
	"GET " . '/' x 100_000 . " HTTP/1.1\r\n\r\n", "POST /cdc/users HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
{
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $server->{http_port}) or die "connect: $!";
	syswrite($socket, $bytes);
	shutdown($socket, 1);
	close($socket);
}
$server->sql(q{INSERT INTO users VALUES ('still here')});
is($counted->event->{json}{document_id}, 'still here', 'hostile bytes on other connections cut off nobody');
is($server->status('worker_deaths_total'), 0, 'and no worker died of them');

done_testing();
