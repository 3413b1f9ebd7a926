# Databases in encodings other than UTF8: every character as PostgreSQL converts it, and no byte that stops the feed.

use strict;
use warnings;
use utf8;
use Encode;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use Test::More;

my $server = ChangefeedTest->new(extension => 1, postgresql => {'changefeed.database' => 'other'});
$server->pg_start;
$server->sql(q{CREATE FUNCTION converted(text bytea, encoding text) RETURNS text LANGUAGE plpgsql AS
	$$ BEGIN RETURN convert_from(text, encoding); EXCEPTION WHEN untranslatable_character OR character_not_in_repertoire THEN RETURN NULL; END $$});

sub let_go
{
	$server->{database} = 'postgres';
	$server->configure('changefeed.enabled' => 'off');
	$server->reload;
	wait_for(sub { $server->sql(q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'other'}) == 0 }, 'the feed lets go');
	return;
}

# A database of that encoding that the feed follows, instead of the one before.
sub in_encoding
{
	my ($encoding) = @_;
	let_go();
	$server->sql(q{SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots; DROP DATABASE IF EXISTS other;}
		  . "CREATE DATABASE other ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
	$server->{database} = 'other';
	$server->sql('CREATE EXTENSION pg_changefeed');
	$server->configure('changefeed.enabled' => 'on');
	$server->reload;
	$server->wait_ready;
	$server->wait_for_feed;
	return;
}

# Bytes as a literal of SQL, whatever the encoding of the connection.
sub literal { my ($bytes) = @_; return "E'" . join('', map { sprintf '\\x%02x', ord } split //, $bytes) . "'"; }

# Every character that the encoding has room for: [lead bytes], one list for each byte.
my @high = (0xa1 .. 0xfe);
my %several = (
	EUC_CN => [[\@high, \@high]],
	EUC_KR => [[\@high, \@high]],
	EUC_JP => [[\@high, \@high], [[0x8e], [0xa1 .. 0xdf]], [[0x8f], \@high, \@high]],
	EUC_TW => [[\@high, \@high], [[0x8e], [0xa2], \@high, \@high]]);

sub characters
{
	my ($encoding) = @_;
	return map { chr } 0x80 .. 0xff unless $several{$encoding};
	my @all;
	for my $bytes (@{$several{$encoding}})
	{
		my @prefixes = ('');
		for my $choice (@$bytes) { @prefixes = map { my $prefix = $_; map { $prefix . chr } @$choice } @prefixes; }
		push @all, @prefixes;
	}
	return @all;
}

# What PostgreSQL makes of them, asked in the database that is UTF8; undef where it refuses.
sub as_postgresql
{
	my ($encoding, @characters) = @_;
	my $values = join(',', map { my $i = $_; "($i,'\\x" . unpack('H*', $characters[$i]) . "'::bytea)" } 0 .. $#characters);
	local $server->{database} = 'postgres';
	my @lines = split /\n/, $server->sql("SELECT coalesce(encode(convert_to(converted(b, '$encoding'), 'UTF8'), 'hex'), '') || '.'
		FROM (VALUES $values) v (i, b) ORDER BY i");
	return map { $_ eq '.' ? undef : decode('UTF-8', pack('H*', s/\.$//r)) } @lines;
}

for my $encoding (qw(WIN1252 WIN1258 WIN874 ISO_8859_7 KOI8R EUC_JP EUC_CN EUC_KR EUC_TW))
{
	in_encoding($encoding);
	my @characters = characters($encoding);
	my @wanted = as_postgresql($encoding, @characters);
	$server->publish('t', 'id int PRIMARY KEY, c text, around text, list text[]');
	my @rows = map { my $c = literal($characters[$_]); "($_, $c, 'a' || $c || 'z', ARRAY[$c, 'x'])" } 0 .. $#characters;
	$server->sql('SET client_encoding = SQL_ASCII; INSERT INTO t VALUES ' . join(',', splice @rows, 0, 5000)) while @rows;
	$server->wait_for_feed;
	my @new = map { $_->{new} } $server->poll_all('t');
	is(scalar @new, scalar @characters, "$encoding: every character comes");
	my @differ = grep { defined $wanted[$_] &&
		($new[$_]{c} ne $wanted[$_] || $new[$_]{around} ne "a$wanted[$_]z" || $new[$_]{list}[0] ne $wanted[$_]) } 0 .. $#wanted;
	is(scalar @differ, 0, 'as PostgreSQL converts it') or diag(join(' ', map { unpack('H*', $characters[$_]) } @differ[0 .. ($#differ < 20 ? $#differ : 20)]));
	my @refused = grep { !defined $wanted[$_] } 0 .. $#wanted;
	my $replaced = grep { $new[$_]{around} eq "a\x{fffd}z" } @refused;
	ok(@refused == 0 || $encoding =~ /EUC_(TW|JP)/ || $replaced == @refused, scalar(@refused) . ' that it refuses are U+FFFD');
}

# ---- names, and neighbours that iconv would compose
in_encoding('WIN1258');
$server->sql(encode 'UTF-8', qq{SET client_encoding = 'UTF8'; CREATE TABLE "Grö\x{df}e" (id int PRIMARY KEY, "M\x{e4}\x{301}" text);
	ALTER PUBLICATION changefeed ADD TABLE "Grö\x{df}e"; INSERT INTO "Grö\x{df}e" VALUES (1, 'a\x{301}e\x{300}')});
$server->wait_for_feed;
is_deeply($server->poll('/cdc/Gr%C3%B6%C3%9Fe/poll')->{changes}[0]{new}, {id => 1, "M\x{e4}\x{301}" => "a\x{301}e\x{300}"},
	'WIN1258: names, and letters apart from their accents');

in_encoding('WIN1252');
$server->publish('t', 'id text PRIMARY KEY, v text, j json');
my $ascii = 'SET client_encoding = SQL_ASCII; ';
my $bad = literal("\x81");
my $name = "a\x81b";
$server->sql($ascii . qq{CREATE TYPE pair AS (x int, "p$name" text); CREATE TABLE "$name" (id int PRIMARY KEY, "c$name" text, p pair);
	ALTER PUBLICATION changefeed ADD TABLE "$name"; INSERT INTO "$name" VALUES (1, $bad, ROW(1, $bad));
		INSERT INTO t VALUES ('a' || $bad, 'x' || $bad, '{"k":"$name"}'); INSERT INTO t VALUES ('b', E'\\x80', '1'), ('c', '', '["\\u6f22"]')});
$server->wait_for_feed;
my @changes = $server->poll_all('*');
is_deeply($changes[0], {%{$changes[0]}, collection => "a\x{fffd}b", new => {id => 1, "ca\x{fffd}b" => "\x{fffd}", p => {x => 1, "pa\x{fffd}b" => "\x{fffd}"}}},
	'names that cannot be converted');
is_deeply([@{$changes[1]}{qw(document_id new)}], ["a\x{fffd}", {id => "a\x{fffd}", v => "x\x{fffd}", j => {k => "a\x{fffd}b"}}], 'a key, and json');
is($changes[2]{new}{v}, "\x{20ac}", 'and what comes behind it is right');
is_deeply($server->poll('/cdc/a%EF%BF%BDb/poll')->{count}, 1, 'such a table can be asked for');
is($server->sql(q{SELECT string_agg(document_id || new::text, ' ') FROM changefeed.changes('t')}),
	'a?{"j": {"k": "a?b"}, "v": "x?", "id": "a?"} b{"j": 1, "v": "' . "\x80" . '", "id": "b"} c{"j": "[\"\\\\u6f22\"]", "v": "", "id": "c"}',
	'in SQL a question mark stands for it');
is($server->sql(q{SELECT published FROM changefeed.collections WHERE name = 't'}), 't', 'the view of collections');
is($server->sql($ascii . qq{SELECT document_id FROM changefeed.changes('$name')}), '1', 'such a table in SQL');
is($server->status('feed_state'), 'streaming', 'the feed streams');

# ---- two tables of one name in UTF-8: neither is forgotten for the other
my @many = map { "many_$_" } 1 .. 70;
my $other = "a\x8db";
$server->sql($ascii . qq{CREATE TABLE "$other" (id int PRIMARY KEY); ALTER PUBLICATION changefeed ADD TABLE "$other"; }
	  . join(' ', map { "CREATE TABLE $_ (id int PRIMARY KEY); ALTER PUBLICATION changefeed ADD TABLE $_;" } @many));
for my $round (2, 3)
{
	$server->sql($ascii . qq{INSERT INTO "$name" VALUES ($round); INSERT INTO "$other" VALUES ($round)});
	$server->sql(join(' ', map { "INSERT INTO $_ VALUES ($round);" } @many));
}
$server->wait_for_feed;
unlike($server->log, qr/that was not described/, 'two tables of one name: the feed knows both');

# ---- a publication's name that ends in what iconv would compose with a character behind it
my $long = "\x{3042}" x 31;    # in UTF-8 it is longer than PostgreSQL's names
in_encoding('EUC_JIS_2004');
$server->sql(encode 'UTF-8', qq{SET client_encoding = 'UTF8'; CREATE TABLE "$long" (id int PRIMARY KEY);
	ALTER PUBLICATION changefeed ADD TABLE "$long"; CREATE PUBLICATION "\x{3042}\x{304b}" FOR TABLE "$long"});
$server->configure('changefeed.publication' => encode('UTF-8', "\x{3042}\x{304b}"));
$server->pg_stop;
$server->pg_start;
ok(wait_for(sub { $server->get('/cdc/' . '%E3%81%82' x 31 . '/poll')->{status} == 200 }, 'its table is served'),
	'EUC_JIS_2004: a publication is found by its whole name');

# ---- a database's name that is not ASCII
let_go();
$server->{database} = encode('UTF-8', "donn\x{e9}es");
$server->sql(qq{SELECT pg_drop_replication_slot('changefeed'); ALTER DATABASE other RENAME TO "$server->{database}"}, 'postgres');
$server->configure('changefeed.enabled' => 'on', 'changefeed.publication' => 'changefeed', 'changefeed.database' => $server->{database});
$server->pg_stop;
$server->pg_start;
$server->wait_ready;
$server->sql(encode 'UTF-8', qq{SET client_encoding = 'UTF8'; INSERT INTO "$long" VALUES (1)});
$server->wait_for_feed;
is($server->sql(encode 'UTF-8', qq{SET client_encoding = 'UTF8'; SELECT document_id FROM changefeed.changes('$long')}), '1',
	'SQL finds its changes, and the table by its long name');

# ---- names that are the same but for what is beyond 63 bytes in UTF-8
my $alike = "\x{3042}" x 30 . "\x{304b}";
$server->sql(encode 'UTF-8', qq{SET client_encoding = 'UTF8'; CREATE TABLE "$alike" (id int PRIMARY KEY); ALTER PUBLICATION changefeed ADD TABLE "$alike";
	INSERT INTO "$alike" VALUES (2)});
$server->wait_for_feed;
is($server->sql(encode 'UTF-8', qq{SET client_encoding = 'UTF8'; SELECT document_id FROM changefeed.changes('$_')}), $_ eq $long ? 1 : 2,
	'SQL tells long names apart') for $long, $alike;
is_deeply([map { "$_->{collection} $_->{document_id}" } $server->poll_all(join '', map { sprintf '%%%02X', ord } split //, encode 'UTF-8', $_)],
	[$_ eq $long ? "$_ 1" : "$_ 2"], 'so does HTTP, which has them whole') for $long, $alike;

done_testing();
