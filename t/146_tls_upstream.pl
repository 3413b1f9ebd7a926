# TLS to PostgreSQL: no poll() shows what OpenSSL has decrypted and libpq did not take yet. Nothing that the server has said
# may wait there for what it says next: neither the end of a change nor that of an answer about the catalog. Once with the
# server's own TLS, once behind what fills its records to the brim, as poolers do, and PostgreSQL from 17 on.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use Test::More;
use Time::HiRes qw(time);

# Feedback goes out once a second, and the feed reads whatever there is then: what takes longer than this may have been stuck.
# It was if it takes so long each time; a machine that does other things is slow now and then, a sanitized program always.
use constant STUCK => $ENV{CHANGEFEED_SANITIZED} ? 999 : 0.7;
use constant TRIES => 5;
use constant RECORD => 16384;

my $seed = $ENV{CHANGEFEED_TEST_SEED} // int(rand 2**31);
srand $seed;
note("CHANGEFEED_TEST_SEED=$seed");

my $server = ChangefeedTest->new(changefeed => {messages => 'ON'});
my $ssl = $server->make_certificate('localhost');
my $port = $ENV{PGPORT} = free_port();
$server->configure(
	listen_addresses => '127.0.0.1',
	port => $port,
	ssl => 'on',
	ssl_cert_file => $ssl->{'certificate-file'},
	ssl_key_file => $ssl->{'key-file'},
	'changefeed.conninfo' => "host=127.0.0.1 port=$port user=postgres dbname=postgres sslmode=require",
);
$server->begin;
$server->publish('users', 'id text PRIMARY KEY, filler text');
my ($stream, $writer);
my $number = 0;

sub insert
{
	my (@sizes) = @_;
	my $values = join(',', map { "('u" . ++$number . "', repeat('x', $_))" } @sizes);
	return ["INSERT INTO users VALUES $values", "u$number"];
}

# Two messages that are sent as they are, outside of any transaction: the second ends what the server says. The
# transaction's id makes the commit flush them.
sub message
{
	my ($size) = @_;
	my $prefix = 'm' . ++$number;
	return ["SELECT txid_current(), pg_logical_emit_message(false, 'first', 'x'),
		pg_logical_emit_message(false, '$prefix', repeat('x', $size - length('$prefix')))", $prefix];
}

sub begin
{
	$server->wait_ready;
	$stream = $server->stream('/cdc/*', json => 0);
	$writer = $server->session;
	return;
}

sub restart
{
	$server->pg_stop;
	$server->pg_start;
	begin();
	return;
}

# How long a statement's last event takes.
sub arrival
{
	my ($statement, $last) = @{$_[0]};
	my $start = time;
	$writer->query($statement);
	my @events = $stream->events_until(sub { $_[0]{data} =~ /"(?:document_id|prefix)":"$last"/ });
	return @events ? time - $start : 999;
}

# Runs what each makes, one after the other, each when the one before has arrived: none may be stuck.
sub is_never_stuck
{
	my ($what, @makers) = @_;
	my @stuck;
	for my $make (@makers)
	{
		my $tries = 0;
		$tries++ while $tries < TRIES && arrival($make->()) >= STUCK;
		push @stuck, substr($make->()->[0], 0, 200) if $tries == TRIES;
	}
	is("@stuck", '', "$what: " . @makers . ' times');
	return;
}

sub test_stream
{
	my ($what) = @_;
	# the record before ends in the head of the last message: libpq makes room only for what it knows of,
	# and keeps it: so this comes first
	is_never_stuck("$what: messages that end a record", map { my $size = $_; sub { message($size) } } RECORD - 80 .. RECORD - 20);
	is_never_stuck("$what: changes of all sizes",
		map { my $size = $_; sub { insert($size) } } map { my $size = $_; map { $size + 7 * $_ - 150 } 0 .. 10 } 8192, RECORD, 2 * RECORD, 4 * RECORD);
	is_never_stuck("$what: bursts", map { my @sizes = map { int rand 3000 } 1 .. 5 + rand 60; sub { insert(@sizes) } } 1 .. 40);
	is_never_stuck("$what: changes larger than any buffer", map { my $size = $_; sub { insert($size) } } 100_000, 1_000_000, 3_000_000);
	return;
}

begin();
cmp_ok($server->sql(q{SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_replication USING (pid) WHERE ssl}), '>', 0, 'the stream comes over TLS');
test_stream('TLS');

# ---- behind the relay, with an old libpq
$server->client_start('tls_relay', $ssl->{'certificate-file'}, $ssl->{'key-file'}, "$server->{dir}/.s.PGSQL.$port");
my $relay_port = wait_for(sub { $server->client_output('tls_relay') =~ /^(\d+)$/m ? $1 : 0 }, 'the relay listens');
$server->configure('changefeed.conninfo' => "host=127.0.0.1 port=$relay_port user=postgres dbname=postgres sslmode=require");
$ENV{LD_PRELOAD} = $server->client_library('faults/old_libpq');
restart();
test_stream('full records');

# ---- answers that are longer than a record: what is published
$server->sql('CREATE SCHEMA many');
for my $round (1 .. 10)
{
	my $last = 'last' . 'x' x (5 * $round);
	my $make = 'CREATE TABLE many.%1$I (id int PRIMARY KEY); ALTER PUBLICATION changefeed ADD TABLE many.%1$I';
	$server->sql("DO \$\$ BEGIN FOR i IN 1 .. 60 LOOP EXECUTE format('$make', repeat('t', i) || $round); END LOOP;
		EXECUTE format('$make', '$last'); END \$\$");
	wait_for(sub { $server->get("/cdc/many.$last/poll?since_lsn=now")->{status} == 200 },
		61 * $round . ' tables: an answer of the catalog arrives as a whole', 10);
}
unlike($server->log, qr/did not answer in time|connection lost/, 'no answer got stuck');

done_testing();
