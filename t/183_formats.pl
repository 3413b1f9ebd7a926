# The parameter format: Debezium's change events and CloudEvents, in streams and in batches; and MessagePack against JSON.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use ChangefeedTest::Msgpack;
use Test::More;

my $server = ChangefeedTest->new;
$server->pg_start;
$server->sql('CREATE DATABASE "my/db é"');
$server->configure('changefeed.database' => 'my/db é');
$server->pg_stop;
$server->{database} = 'my/db é';
$server->pg_start;
$server->sql('CREATE EXTENSION pg_changefeed');
$server->wait_ready;
$server->publish('users', 'id int PRIMARY KEY, name text, amount numeric, big text');
$server->publish('whole', 'id int PRIMARY KEY, name text');
my $start = $server->now_lsn;
$server->sql(q{
	ALTER TABLE users ALTER big SET STORAGE EXTERNAL; ALTER TABLE whole REPLICA IDENTITY FULL;
	INSERT INTO users VALUES (1, 'Ann', 1.50, repeat('x', 5000));
	UPDATE users SET name = 'Bob';
	UPDATE users SET id = 2, big = NULL;
	DELETE FROM users;
	INSERT INTO whole VALUES (1, 'a'); UPDATE whole SET name = NULL; DELETE FROM whole;
	TRUNCATE users});
$server->wait_for_feed;
my @plain = $server->poll_all('*', since => $start);
is(scalar @plain, 8, 'eight changes');
my $system = $server->sql('SELECT system_identifier FROM pg_control_system()');
my ($version) = (run_command("$server->{bindir}/pg_changefeed", '--version'))[1] =~ /(\d+\.\d+\S*)/;

# ---- Debezium
my %rows = (
	'users1' => [undef, {id => 1, name => 'Ann', amount => 1.5, big => 'x' x 5000}],
	'users2' => [undef, {id => 1, name => 'Bob', amount => 1.5, big => '__debezium_unavailable_value'}],
	'users3' => [{id => 1}, {id => 2, name => 'Bob', amount => 1.5, big => undef}],
	'users4' => [{id => 2}, undef],
	'whole1' => [undef, {id => 1, name => 'a'}],
	'whole2' => [{id => 1, name => 'a'}, {id => 1, name => undef}],
	'whole3' => [{id => 1, name => undef}, undef]);
my @codes = qw(c u u d c u d t);
my @rows = (@rows{qw(users1 users2 users3 users4 whole1 whole2 whole3)}, undef);

sub is_debezium
{
	my ($payload, $number, $what) = @_;
	my $plain = $plain[$number];
	my ($lsn, $n) = $plain->{id} =~ /(\d+)-(\d+)/;
	my $us = $payload->{ts_us};
	like($us, qr/^$plain->{timestamp_ms}\d{3}$/, "$what: microseconds");
	my %times = (ts_ms => $plain->{timestamp_ms}, ts_us => $us, ts_ns => $us . '000');
	is_deeply($payload, {
			$rows[$number] ? (before => $rows[$number][0], after => $rows[$number][1]) : (),
			source => {version => $version, connector => 'postgresql', name => 'changefeed', %times, snapshot => 'false', db => "my/db \x{e9}",
				sequence => qq{["$lsn","$n"]}, schema => 'public', table => $plain->{collection}, txId => $plain->{xid}, lsn => $lsn, xmin => undef},
			op => $codes[$number], %times, transaction => undef}, $what)
	  or diag(json_text($payload));
	return;
}
my $stream = $server->stream("/cdc/*?format=debezium&since_lsn=$start");
my @events = $stream->events(8);
is_debezium($events[$_]{json}, $_, "debezium, event $codes[$_] of $plain[$_]{collection}") for 0 .. 7;
is($events[7]{event}, 'truncate', 'the event and its id are the stream\'s');
is($events[7]{id}, $plain[7]{id}, 'as in any format');
like($events[0]{data}, qr/"amount":1\.50,/, 'numbers keep their digits');
my $batch = $server->poll("/cdc/*/poll?format=debezium&since_lsn=$start");
is($batch->{count}, 8, 'debezium, poll: the batch is the usual one');
is_debezium($batch->{changes}[2], 2, 'of such events');
is_deeply($server->poll("/cdc/users/poll?format=debezium&payload=key&since_lsn=$start")->{changes}[0]{after}, {id => 1}, 'payload=key: rows of the key');
is_deeply($server->poll("/cdc/users/poll?format=debezium&columns=name&since_lsn=$start")->{changes}[1]{after}, {id => 1, name => 'Bob'},
	'columns: these and the key');
is($server->get("/cdc/users/poll?format=debezium", headers => {Accept => 'application/msgpack'})->{headers}{'content-type'}, 'application/json',
	'an envelope is JSON');

# ---- CloudEvents
sub is_cloudevent
{
	my ($event, $number, $what) = @_;
	my $plain = $plain[$number];
	my $time = $server->sql("SELECT to_char(to_timestamp($plain->{timestamp_ms} / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS')");
	like(delete $event->{time}, qr/^\Q$time\E\d{3}Z$/, "$what: the time of the commit");
	is_deeply($event, {specversion => '1.0', id => $plain->{id},
		source => "/postgresql/$system/1/my%2Fdb%20%C3%A9/changefeed", type => "pg_changefeed." . lc $plain->{operation},
			subject => "public.$plain->{collection}", datacontenttype => 'application/json', data => $plain}, $what)
	  or diag(json_text($event));
	return;
}
$stream = $server->stream("/cdc/*?format=cloudevents&since_lsn=$start");
@events = $stream->events(8);
is_cloudevent($events[$_]{json}, $_, "cloudevents, $plain[$_]{operation} of $plain[$_]{collection}") for 0 .. 7;
my ($cursor, @all) = ($start);
while (1)
{
	my $response = $server->get("/cdc/*/poll?format=cloudevents&limit=3&since_lsn=$cursor");
	is($response->{headers}{'content-type'}, 'application/cloudevents-batch+json', 'a batch of CloudEvents');
	push @all, @{$response->{json}};
	$cursor = $response->{headers}{'changefeed-next-cursor'};
	last if $response->{headers}{'changefeed-has-more'} ne 'true';
}
is_deeply([map { $_->{id} } @all], [map { $_->{id} } @plain], 'the headers lead from batch to batch');
is_cloudevent($all[5], 5, 'each like an event of a stream');
is($server->get("/cdc/*/poll?format=cloudevents&since_lsn=$cursor")->{content}, '[]', 'an empty batch');
is($server->get('/cdc/users?format=avro')->{status}, 400, 'other formats are refused');

# ---- MessagePack
my @accept = (headers => {Accept => 'application/msgpack'});
my $packed = ChangefeedTest::Msgpack::decode($server->get("/cdc/*/poll?since_lsn=$start", @accept)->{content});
my $json = $server->poll("/cdc/*/poll?since_lsn=$start");
$_->{new}{amount} = '1.50' for grep { $_->{new} && exists $_->{new}{amount} } @{$json->{changes}};
is_deeply($packed, $json, 'MessagePack: the same document, numeric as str');

done_testing();
