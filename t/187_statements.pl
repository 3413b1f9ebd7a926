# Every statement that writes, and DDL in the middle of transactions: what the stream tells is what the table went through.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use Test::More;

my $server = ChangefeedTest->start(postgresql => {'changefeed.ring_size' => '32MB'});

# The changes that the statements make.
sub changes_of
{
	my ($sql) = @_;
	my $since = $server->now_lsn;
	$server->sql($sql);
	$server->wait_for_feed;
	return $server->poll_all('*', since => $since);
}

sub brief
{
	return [map {
		my $row = $_->{new} // {};
		lc(substr($_->{operation}, 0, 1)) . ($_->{document_id} // '') . (exists $row->{v} ? '=' . ($row->{v} // 'null') : '')
	} @_];
}

# ---- statements
$server->publish('t', 'id int PRIMARY KEY, v text');
$server->publish('u', 'id int PRIMARY KEY, t_id int REFERENCES t ON DELETE CASCADE ON UPDATE SET NULL, v text');
is_deeply(brief(changes_of(q{INSERT INTO t VALUES (1, 'a'), (2, 'b')})), [qw(i1=a i2=b)], 'INSERT of several');
is_deeply(brief(changes_of(q{INSERT INTO t VALUES (1, 'c'), (3, 'd') ON CONFLICT (id) DO UPDATE SET v = excluded.v})), [qw(u1=c i3=d)],
	'ON CONFLICT DO UPDATE');
is_deeply(brief(changes_of(q{INSERT INTO t VALUES (1, 'x'), (4, 'e') ON CONFLICT DO NOTHING})), [qw(i4=e)], 'ON CONFLICT DO NOTHING');
is_deeply(brief(changes_of(q{UPDATE t SET v = v WHERE id = 1})), [qw(u1=c)], 'an UPDATE that changes nothing');
is_deeply(brief(changes_of(q{MERGE INTO t USING (VALUES (1, 'm'), (9, 'n')) s (id, v) ON t.id = s.id
	WHEN MATCHED THEN UPDATE SET v = s.v WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.v)})),
	[qw(u1=m i9=n)], 'MERGE') if $server->sql('SHOW server_version_num') >= 150000;
is_deeply(brief(changes_of("COPY t FROM stdin;\n20\tp\n21\t\\N\n\\.\n")), [qw(i20=p i21=null)], 'COPY');
is_deeply(brief(changes_of(q{WITH gone AS (DELETE FROM t WHERE id IN (20, 21) RETURNING *)
	INSERT INTO t SELECT id + 10, v FROM gone})), [qw(d20 i30=p d21 i31=null)], 'WITH')
  or diag(json_text(brief($server->poll_all('t'))));
is_deeply(brief(changes_of(q{INSERT INTO u VALUES (1, 1, 'x'), (2, 2, 'y'); DELETE FROM t WHERE id = 1;
	UPDATE t SET id = 5 WHERE id = 2})), [qw(i1=x i2=y d1 d1 u5=b u2=y)],
	'foreign keys: CASCADE, SET NULL');
is_deeply(brief(changes_of(q{SELECT * FROM t FOR UPDATE; VACUUM FULL t; CLUSTER t USING t_pkey; REINDEX TABLE t; ANALYZE t})), [],
	'locks and rewrites are no changes');
is_deeply(brief(changes_of(q{BEGIN; ALTER TABLE t ALTER v TYPE varchar(90); INSERT INTO t VALUES (40, 'r');
	ALTER TABLE t ALTER v TYPE text COLLATE "C", ADD w float8 DEFAULT random(); UPDATE t SET v = 's' WHERE id = 40; COMMIT})),
	[qw(i40=r u40=s)], 'nor is a table rewritten by ALTER TABLE');
is_deeply(brief(changes_of(q{CREATE FUNCTION twice() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.v := NEW.v || '!'; RETURN NEW; END $$;
	CREATE TRIGGER twice BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION twice();
		INSERT INTO t (id, v) VALUES (41, 't'); DROP TRIGGER twice ON t})), ['i41=t!'], 'triggers: the row as it was stored');
is_deeply(brief(changes_of(q{BEGIN; DECLARE c CURSOR FOR SELECT * FROM t WHERE id = 41 FOR UPDATE; FETCH c;
	UPDATE t SET v = 'u' WHERE CURRENT OF c; COMMIT})), ['u41=u'],
	'WHERE CURRENT OF');
is_deeply(brief(changes_of(q{BEGIN; CREATE TABLE made (id int PRIMARY KEY, v text); INSERT INTO made VALUES (1, 'before');
	ALTER PUBLICATION changefeed ADD TABLE made; INSERT INTO made VALUES (2, 'after'); COMMIT; INSERT INTO made VALUES (3, 'later')})),
	[qw(i2=after i3=later)], 'a table made, filled and published in one transaction');
is_deeply(brief(changes_of(q{BEGIN; INSERT INTO made VALUES (4, 'x'); DROP TABLE made; COMMIT})), ['i4=x'], 'a row of a table that its transaction drops');
is_deeply(brief(changes_of(q{BEGIN; INSERT INTO t (id, v) VALUES (50, 'x'); TRUNCATE t, u;
	INSERT INTO t (id, v) VALUES (50, 'y'); COMMIT})), [qw(i50=x t t i50=y)],
	'TRUNCATE between');
$server->sql('CREATE UNLOGGED TABLE unlogged (id int)');
is_deeply(brief(changes_of(q{CREATE TEMP TABLE temporary (id int PRIMARY KEY); INSERT INTO temporary VALUES (1); INSERT INTO unlogged VALUES (1);
	CREATE MATERIALIZED VIEW seen AS SELECT * FROM t; REFRESH MATERIALIZED VIEW seen})), [],
	'temporary, unlogged, materialized: no tables of the publication');

# ---- types that change in the middle of a transaction
$server->sql(q{CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE TYPE pair AS (x int, y text); CREATE DOMAIN short AS varchar(3)});
$server->publish('typed', 'id int PRIMARY KEY, m mood, p pair, ps pair[], s short');
my @new = map { $_->{new} } changes_of(q{
	INSERT INTO typed VALUES (1, 'sad', (1, 'a'), ARRAY[(1, 'a')::pair], 'abc');
	ALTER TYPE mood ADD VALUE 'mad' BEFORE 'sad';
	INSERT INTO typed VALUES (2, 'mad', (1, 'a'));
	ALTER TYPE mood RENAME VALUE 'mad' TO 'bad'; ALTER TYPE mood RENAME TO spirit;
	INSERT INTO typed VALUES (3, 'bad');
	UPDATE typed SET m = m WHERE id = 2});
is_deeply([map { $_->{m} } @new], [qw(sad mad bad bad)], 'ALTER TYPE of an enum: each change has the name that the value had');
$server->wait_for_feed;
$server->sql(q{ALTER TYPE pair ADD ATTRIBUTE z date});
@new = map { $_->{new} } changes_of(q{INSERT INTO typed VALUES (4, NULL, (2, 'b', '2024-01-01'), ARRAY[(3, NULL, 'infinity')::pair])});
is_deeply($new[0], {id => 4, m => undef, p => {x => 2, y => 'b', z => '2024-01-01'}, ps => [{x => 3, y => undef, z => 'infinity'}], s => undef},
	'a composite type that has grown');
$server->sql(q{ALTER TYPE pair RENAME ATTRIBUTE x TO "X x"; ALTER TYPE pair DROP ATTRIBUTE y});
@new = map { $_->{new} } changes_of(q{UPDATE typed SET s = 'x' WHERE id = 4});
is_deeply($new[0]{p}, {'X x' => 2, z => '2024-01-01'}, 'renamed, and shrunk');
@new = map { $_->{new} } changes_of(q{BEGIN; ALTER TYPE pair ADD ATTRIBUTE own bool; INSERT INTO typed VALUES (5, NULL, (5, NULL, true)); COMMIT});
is_deeply($new[0]{p}, {'X x' => 5, z => undef, own => JSON::PP::true}, 'altered in the transaction that uses it');

# ---- the replica identity in mid-stream
$server->publish('who', 'id int PRIMARY KEY, other int NOT NULL UNIQUE, v text');
my @changes = changes_of(q{
	INSERT INTO who VALUES (1, 10, 'a'); UPDATE who SET id = 2; ALTER TABLE who REPLICA IDENTITY FULL; UPDATE who SET v = 'b';
	BEGIN; ALTER TABLE who REPLICA IDENTITY USING INDEX who_other_key; UPDATE who SET other = 11;
		ALTER TABLE who REPLICA IDENTITY DEFAULT; DELETE FROM who; COMMIT});
is_deeply([map { [@{$_}{qw(document_id old)}] } @changes],
	[[1, undef], [2, {id => 1}], [2, {id => 2, other => 10, v => 'a'}], [2, {other => 10}], [2, {id => 2}]],
	'each change has the old row of its own identity');
# of a key that the stream does not name the catalog is asked, so nothing else may be there yet when it is
@changes = changes_of(q{ALTER TABLE who DROP CONSTRAINT who_pkey; INSERT INTO who VALUES (3, 30, 'x')});
push @changes, changes_of(q{ALTER TABLE who ADD PRIMARY KEY (other, id); INSERT INTO who VALUES (4, 40, 'y'); UPDATE who SET v = 'z' WHERE id = 4});
is_deeply([map { $_->{document_id} } @changes], [undef, '[40,4]', '[40,4]'], 'a primary key that is dropped, and another one');

# ---- wide and long
my $columns = join(', ', map { "c$_ int" } 2 .. 1600);
$server->publish('wide', "c1 int PRIMARY KEY, $columns");
@changes = changes_of('INSERT INTO wide VALUES (' . join(',', map { $_ % 7 == 0 ? 'NULL' : $_ } 1 .. 1600) . ')');
is_deeply($changes[0]{new}, {map { ("c$_" => $_ % 7 == 0 ? undef : $_) } 1 .. 1600}, 'as many columns as a table may have');
my $long = "\x{00e9}" x 31 . 'z';
my $long_sql = "\xc3\xa9" x 31 . 'z';
$server->sql(qq{CREATE SCHEMA "$long_sql"; CREATE TABLE "$long_sql"."$long_sql" ("$long_sql" int PRIMARY KEY);
	ALTER PUBLICATION changefeed ADD TABLE "$long_sql"."$long_sql"});
@changes = changes_of(qq{INSERT INTO "$long_sql"."$long_sql" VALUES (1)});
is_deeply([@{$changes[0]}{qw(collection schema new)}], [$long, $long, {$long => 1}], 'names as long as they may be');
my $path = '%C3%A9' x 31 . 'z';
is($server->poll("/cdc/$path.$path/poll")->{count}, 1, 'in the path, too');
@changes = changes_of(q{INSERT INTO t (id, v) SELECT 60, string_agg(i::text, '') FROM generate_series(1, 4000000) i;
	INSERT INTO t (id, v) VALUES (61, 'next')});
is_deeply([map { [$_->{document_id}, $_->{oversize}, exists $_->{new} ? 1 : 0] } @changes], [[60, JSON::PP::true, 0], [61, undef, 1]],
	'a row of more than a quarter of the ring is announced, and the next comes');

done_testing();
