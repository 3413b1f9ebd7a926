# A transaction ten times as large as the ring, during which the feed is killed three times: its changes have the same ids each
# time, and N is exact wherever in it a cursor stands: in what is gone, at the border, in what is still here.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use ChangefeedTest::Proxy;
use Test::More;

my $rows = 60_000;
my $server = ChangefeedTest->new(changefeed => {heartbeat => 1, 'stall-timeout' => 300}, postgresql => {'changefeed.ring_size' => '2MB'});
my $proxy = ChangefeedTest::Proxy->new("$server->{dir}/.s.PGSQL.5432");
$server->configure('changefeed.conninfo' => "host=127.0.0.1 port=$proxy->{port} user=postgres dbname=postgres");
$server->begin;
$server->publish('big', 'id int PRIMARY KEY, filler text');
$server->publish('quiet', 'id int PRIMARY KEY');

# How many changes of the transaction that is streamed now have come; 0 when none is.
sub come { return $server->get('/cdc')->{json}{ring}{newest} =~ /^\d+-(\d+)$/ ? $1 : 0; }

my $since = $server->now_lsn;
my %follows = (now => $server->stream('/cdc/big', json => 0), 'an LSN' => $server->stream("/cdc/big?since_lsn=$since", json => 0));
my $failing = $server->stream('/cdc/big?on_gap=fail', json => 0);
# Those read nothing before all of it has come; this one reads on meanwhile.
my $reader = $server->client_start('sse_clients', '--port', $server->{http_port}, '--path', '/cdc/big', '--clients', 1, '--until', $rows);
wait_for(sub { $server->client_output('sse_clients') =~ /^open$/m }, 'a client reads');

# ---- the feed is killed when a quarter, a half and three quarters of it have come
$proxy->order('rate 6000000');
$server->sql("BEGIN; INSERT INTO big SELECT i, repeat('x', 300) FROM generate_series(1, $rows) i; INSERT INTO quiet VALUES (1); COMMIT");
for my $quarter (1 .. 3)
{
	wait_for(sub { come() > $quarter * $rows / 4 }, "$quarter quarters have come");
	my $feed = $server->processes->{feed};
	kill('KILL', $feed);
	my $come = come();
	ok($come > 0 && $come < $rows, "the feed is killed behind change $come of $rows");
	wait_for(sub { my $new = $server->processes->{feed}; $new && $new != $feed }, 'another feed');
}
$proxy->order('rate 0');
$server->wait_ready;
$server->wait_for_feed;
$server->wait_confirmed;    # nothing is evicted any more

# ---- who follows it has each change or is told of it
$server->client_result($reader);
my $summary = $server->client_output('sse_clients') =~ s/^open\n//r;
my ($events, $disorder, $lagged) = $summary =~ /\bevents=(\d+) .*?disorder=(\d+) .*?lagged=(\d+)/s;
is($events + $lagged, $rows, "a client that reads on while the feed is killed: $events received and $lagged said to be lost are all");
is($disorder, 0, 'and none comes twice');
# {received, lagged, last, disorder} of all that a stream has up to the last change, or to its end.
sub follow
{
	my ($stream) = @_;
	my %seen = (received => 0, lagged => 0, last => 0, disorder => 0);
	while ($seen{last} < $rows)
	{
		my $event = $stream->event or last;
		$seen{lagged} += $1, next if $event->{event} eq 'warning' && $event->{data} =~ /^lagged (\d+) events$/;
		my ($n) = $event->{id} =~ /-(\d+)$/;
		$seen{disorder}++ if $n <= $seen{last} || $event->{data} !~ /"document_id":"$n"/;
		$seen{received}++;
		$seen{last} = $n;
	}
	return %seen;
}
for my $start (sort keys %follows)
{
	my %seen = follow($follows{$start});
	is($seen{received} + $seen{lagged}, $rows, "a stream from $start: $seen{received} received and $seen{lagged} said to be lost are all");
	is($seen{disorder}, 0, "a stream from $start: in order, each with its id");
}
my %seen = follow($failing);
is_deeply([@seen{qw(received lagged disorder)}], [$seen{last}, 0, 0], "on_gap=fail: a stream has the first $seen{last}, and no warning");
ok($seen{last} < $rows && $failing->{ended}, 'on_gap=fail: then it ends, because there is a gap');
is($failing->{text} . $failing->{raw}, '', 'on_gap=fail: behind a whole block');

# ---- who resumes in it
my @retained = $server->poll_all('big', parameters => '&payload=key');
my $gone = $rows - @retained;
cmp_ok($gone, '>', 0.8 * $rows, "$gone changes are gone");
is($retained[0]{id} =~ s/^\d+-//r, $gone + 1, 'and what is here is the rest');
my ($lsn) = $retained[0]{id} =~ /^(\d+)/;
for my $at ($since, map { "$lsn-$_" } 1, 1000, $rows / 2, $gone - 1, $gone, $gone + 1, $rows - 1, $rows)
{
	my $n = $at =~ /-(\d+)$/ ? $1 : 0;
	my $batch = $server->poll("/cdc/big/poll?since_lsn=$at&on_gap=warn&limit=1&payload=key");
	my $first = $n < $gone ? $gone + 1 : $n + 1;
	is_deeply([$batch->{lagged} // 0, map { $_->{document_id} } @{$batch->{changes}}], [$n < $gone ? $gone - $n : 0, $first <= $rows ? $first : ()],
		"from $at: N is exact, and the next one comes");
}
is($server->get("/cdc/quiet/poll?since_lsn=$lsn-1000&on_gap=fail")->{json}{count}, 1,
	'a cursor in what is gone is no gap for a table of which nothing is gone');

done_testing();
