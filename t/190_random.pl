# Random tables, rows, transactions and DDL: whoever replays the changes has a copy of the tables.
#
# Two writers at once make transactions that commit, roll back, roll back to savepoints, and are prepared, on tables of
# their own. Then all changes, polled in batches of random size, are replayed in SQL, by keys and by `old` alone. The
# copy has to be equal to the tables, to the letter.
#
#   CHANGEFEED_TEST_SEED=1 CHANGEFEED_TEST_TRANSACTIONS=20000 prove t/190_random.pl
# repeats a run, or makes it longer. What is random comes from the seed; how the writers interleave does not.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use Test::More;

my $seed = $ENV{CHANGEFEED_TEST_SEED} // 20240229;
my $transactions = $ENV{CHANGEFEED_TEST_TRANSACTIONS} // 300;
srand $seed;
note("CHANGEFEED_TEST_SEED=$seed CHANGEFEED_TEST_TRANSACTIONS=$transactions");

sub one_of { return $_[int rand @_]; }
sub chance { return rand() < $_[0]; }
sub quoted { return "'" . ($_[0] =~ s/'/''/gr) . "'"; }

# ---- values
my @words = ('', 'a', 'NULL', 'null', '{}', '"', '\\', "'", 'a,b', '(x)',
	'é', '漢字', '🙂', "line\nbreak", "tab\t", "\r", ' ', '\\u0041', '</script>', "\x01", 'e' x 300);
sub word { return join '', map { one_of(@words) } 1 .. one_of(1, 1, 1, 2, 4); }
sub integer { return one_of(0, 1, -1, 2147483647, -2147483648, int rand 1000); }
sub instant
{
	return sprintf '%04d-%02d-%02d %02d:%02d:%02d.%s', one_of(1, 1969, 2024, 9999), 1 + rand 12, 1 + rand 28, rand 24, rand 60, rand 60,
		one_of(0, 5, 123456);
}
my %values = (
	'int' => sub { return integer(); },
	'bigint' => sub { return one_of("'9223372036854775807'", "'-9223372036854775808'", '9007199254740993', integer()); },
	'numeric' => sub { return one_of("'NaN'", "'Infinity'", '0.00', "'" . int(rand 1e9) . '.' . ('0' x int rand 5) . int(rand 1e9) . "0'", '1e30', '-1e-30'); },
	'float8' => sub { return one_of("'-0'", "'NaN'", "'-Infinity'", "'1e300'", rand, integer()); },
	'bool' => sub { return one_of('true', 'false'); },
	'text' => sub { return quoted(word()); },
	'varchar(400)' => sub { return quoted(substr word(), 0, 400); },
	'bytea' => sub { return "decode('" . join('', map { sprintf '%02x', rand 256 } 1 .. rand 20) . "', 'hex')"; },
	'uuid' => sub { return sprintf "'%08x-0000-4000-8000-%012x'", rand 2**32, rand 2**32; },
	'date' => sub { return one_of("'infinity'", "'0044-03-15 BC'", "'2024-02-29'"); },
	'timestamp' => sub { return one_of("'-infinity'", quoted(instant())); },
	'timestamptz' => sub { return one_of("'infinity'", quoted(instant() . one_of('+00', '-05:30', '+14'))); },
	'interval' => sub { return quoted(sprintf '%d months %d days %d.%d seconds', rand 40, rand 40, rand 1e5, rand 100); },
	'jsonb' => sub { return 'jsonb_build_object(' . join(',', map { quoted(word()) . "::text, "
		. one_of(quoted(word()) . '::text', integer(), '1.50', 'NULL', "'[1, {}]'::jsonb") } 1 .. rand 4) . ')'; },
	'json' => sub { return q{'} . one_of('{"b":1, "a" : [ 1.0 ]}', 'null', '"x"', '[]', '-0.10e5') . q{'}; },
	'mood' => sub { return one_of("'sad'", q{'happy, "very"'}); },
	'pair' => sub { return 'ROW(' . integer() . ', ' . one_of('NULL', quoted(word())) . ", ARRAY[1, NULL])::pair"; },
	'pair[]' => sub { return "ARRAY[ROW(1, " . quoted(word()) . ", NULL)::pair, NULL]"; },
	'text[]' => sub { return 'ARRAY[' . join(',', map { one_of('NULL', quoted(word())) } 1 .. rand 4) . ']::text[]'; },
	'int[]' => sub { return one_of("'{}'", "'{{1,2},{3,NULL}}'", "'[0:1]={5,6}'"); },
	'int4range' => sub { return one_of("'empty'", "'[1,5)'", "'(,)'"); },
	'positive' => sub { return 1 + int rand 100; },
	'words' => sub { return one_of("'{}'", 'ARRAY[' . quoted(word()) . ', NULL]::text[]', q{'[3:4]={x,"y z"}'}); },
	'whole' => sub { return 'ROW(' . one_of('NULL', 'ROW(1, ' . quoted(word()) . ', NULL)::pair') . ', ARRAY[' . quoted(word()) . "]::text[], 'sad')::whole"; },
	'whole[]' => sub { return "'{}'" if chance(0.2);
		return 'ARRAY[ROW(NULL, NULL, NULL)::whole, NULL, ' . 'ROW(ROW(2, ' . quoted(word()) . ", '{}')::pair, NULL, NULL)::whole]"; },
	'int2' => sub { return one_of(32767, -32768, int rand 100); },
	'float4' => sub { return one_of("'NaN'", "'-0'", '3.4028235e38', '1e-45', sprintf '%.3f', rand 1000); },
	'bpchar(5)' => sub { return quoted(one_of('a', 'a  b', '', 'é')); },
	'"char"' => sub { return one_of("'x'", "''", q{'"'}); },
	'name' => sub { return quoted(one_of(@words[0 .. $#words - 1])); },
	'money' => sub { return sprintf "'%.2f'::money", rand(2e6) - 1e6; },
	'bit(4)' => sub { return sprintf "B'%04b'", rand 16; },
	'varbit' => sub { return "B'" . join('', map { int rand 2 } 1 .. rand 9) . "'"; },
	'inet' => sub { return sprintf "'%d.0.0.%d/%d'", rand 256, rand 256, rand 33; },
	'cidr' => sub { return "'2001:db8::/32'"; },
	'macaddr' => sub { return sprintf "'08:00:2b:01:02:%02x'", rand 256; },
	'time' => sub { return sprintf "'%02d:%02d:%02d.%d'", rand 24, rand 60, rand 60, rand 1e6; },
	'timetz' => sub { return sprintf "'%02d:00:00%+03d'", rand 24, rand(24) - 12; },
	'point' => sub { return sprintf "'(%.2f,%s)'", rand 100, one_of('NaN', 'Infinity', 1); },
	'box[]' => sub { return "ARRAY['(3,4),(1,2)'::box, NULL, '(1,1),(0,0)']"; },
	'tsvector' => sub { return "to_tsvector('simple', " . quoted(word()) . ')'; },
	'numrange' => sub { return sprintf "'[%.3f,%s'", rand 10, one_of(')', '20.50)', '20.50]'); },
	'datemultirange' => sub { return one_of("'{}'", "'{[2024-01-01,2024-02-01),[2024-03-01,infinity)}'"); },
	'tstzrange' => sub { return q{'["2024-01-01 10:00+02",infinity)'}; },
	'pg_lsn' => sub { return sprintf "'%X/%X'", rand 2**32, rand 2**32; },
	'xml' => sub { return one_of(q{'<a b="c">d &amp; e</a>'}, q{'text'}); },
	'regclass' => sub { return one_of("'pg_class'", "'0'"); },
	'jsonpath' => sub { return q{'$.a[*] ? (@ > 1)'}; },
	'hstore' => sub { return 'hstore(' . quoted(word()) . ', ' . one_of('NULL', quoted(word())) . ')'; },
	'citext' => sub { return quoted(word()); },
);
my @types = sort keys %values;

# A value that does not fit its row, and so is unchanged TOAST when an UPDATE leaves it alone.
$values{toasted} = sub { return sprintf "repeat(%s, %d)", quoted(join '', map { chr 97 + rand 26 } 1 .. 60), 50 + rand 50; };

sub value { return chance(0.15) ? 'NULL' : $values{$_[0]}->(); }

# ---- tables
my $next_name = 0;

sub make_table
{
	my ($writer) = @_;
	my %table = (name => one_of('t', 'Table ', 'ta.ble') . $next_name++, columns => {}, key => [], sql => '');
	my @definitions;
	my @keys = one_of([], ['int'], ['int'], ['text', 'int'], ['uuid'], ['numeric', 'date']);
	for my $type (@{$keys[0]})
	{
		my $column = 'k' . @{$table{key}};
		push @{$table{key}}, $column;
		$table{columns}{$column} = $type;
		push @definitions, "\"$column\" $type NOT NULL";
	}
	for my $i (0 .. 1 + rand 6)
	{
		my $type = chance(0.15) ? 'toasted' : one_of(@types);
		my $column = one_of('c', 'Col ', 'ü') . $i;
		$table{columns}{$column} = $type;
		push @definitions, "\"$column\" " . ($type eq 'toasted' ? 'text' : $type);
	}
	my @order = sort { rand() <=> 0.5 } @definitions;
	$table{identity} = @{$table{key}} ? one_of('DEFAULT', 'FULL') : 'FULL';
	$table{ref} = "\"$table{name}\"";
	$table{sql} = "CREATE TABLE $table{ref} ("
		. join(', ', @order, @{$table{key}} ? 'PRIMARY KEY (' . join(', ', map { "\"$_\"" } @{$table{key}}) . ')' : ()) . ");\n"
	  . "ALTER TABLE $table{ref} REPLICA IDENTITY $table{identity};\n"
	  . join('', map { $table{columns}{$_} eq 'toasted' ? "ALTER TABLE $table{ref} ALTER \"$_\" SET STORAGE EXTERNAL;\n" : () } keys %{$table{columns}})
	  . "ALTER PUBLICATION changefeed ADD TABLE $table{ref};\n";
	return \%table;
}

# ---- statements
sub insert
{
	my ($table) = @_;
	my @columns = sort keys %{$table->{columns}};
	my %is_key = map { $_ => 1 } @{$table->{key}};
	my @rows = map {
		'(' . join(', ', map { $is_key{$_} ? $values{$table->{columns}{$_}}->() : value($table->{columns}{$_}) } @columns) . ')'
	} 1 .. one_of(1, 1, 1, 2, 10);
	return map { "INSERT INTO $table->{ref} (" . join(', ', map { "\"$_\"" } @columns) . ") SELECT "
		. (s/^\(|\)$//gr) . (@{$table->{key}} ? ' ON CONFLICT DO NOTHING' : '') } @rows;
}

sub some_rows { return 'ctid IN (SELECT ctid FROM ' . $_[0]{ref} . ' ORDER BY ctid LIMIT ' . one_of(1, 1, 3, 100) . ' OFFSET ' . int(rand 5) . ')'; }

sub update
{
	my ($table) = @_;
	my %is_key = map { $_ => 1 } @{$table->{key}};
	my @columns = grep { !$is_key{$_} } sort keys %{$table->{columns}};
	my $column = one_of(@columns);
	return "UPDATE $table->{ref} SET \"$column\" = " . value($table->{columns}{$column}) . ' WHERE ' . some_rows($table);
}

# Changes the key of at most one row, to one that may exist already.
sub update_key
{
	my ($table) = @_;
	return update($table) unless @{$table->{key}};
	my $column = one_of(@{$table->{key}});
	my $value = $values{$table->{columns}{$column}}->();
	my $others = join(' AND ', map { "o.\"$_\" = " . ($_ eq $column ? 'v' : "t.\"$_\"") } @{$table->{key}});
	my $type = $table->{columns}{$column};
	return "UPDATE $table->{ref} t SET \"$column\" = v FROM (SELECT CAST($value AS $type)) n (v)
		WHERE t.ctid = (SELECT min(ctid) FROM $table->{ref}) AND NOT EXISTS (SELECT FROM $table->{ref} o WHERE $others)";
}

# DDL, and an UPDATE that sends the rows in their new form.
sub alter
{
	my ($table) = @_;
	return insert($table) unless @{$table->{key}};
	return ("ALTER TABLE $table->{ref} REPLICA IDENTITY "
		. ($table->{identity} = one_of('DEFAULT', 'FULL')), update($table), update_key($table)) if chance(0.2);
	my %is_key = map { $_ => 1 } @{$table->{key}};
	my @columns = grep { !$is_key{$_} && $table->{columns}{$_} ne 'toasted' } sort keys %{$table->{columns}};
	my $column = @columns ? one_of(@columns) : undef;
	my $new = 'n' . int rand 1e6;
	my $change;
	if (@columns < 2 || chance(0.4))
	{
		my $type = one_of(@types);
		$change = "ADD \"$new\" $type DEFAULT " . value($type);
		$table->{columns}{$new} = $type;
	}
	elsif (chance(0.4))
	{
		$change = "RENAME \"$column\" TO \"$new\"";
		$table->{columns}{$new} = delete $table->{columns}{$column};
	}
	elsif (chance(0.3))
	{
		$change = "ALTER \"$column\" DROP DEFAULT, ALTER \"$column\" TYPE text USING \"$column\"::text";
		$table->{columns}{$column} = 'text';
	}
	else
	{
		$change = "DROP \"$column\"";
		delete $table->{columns}{$column};
	}
	return ("ALTER TABLE $table->{ref} $change", "UPDATE $table->{ref} SET \"$table->{key}[0]\" = \"$table->{key}[0]\"");
}

sub statement
{
	my ($table) = @_;
	my $dice = rand;
	return "SELECT pg_logical_emit_message(" . one_of('true', 'false') . ', ' . quoted(word()) . ', ' . quoted(word()) . ')' if chance(0.05);
	return $dice < 0.45 ? insert($table)
		: $dice < 0.75 ? update($table)
		: $dice < 0.85 ? update_key($table)
		: $dice < 0.97 ? "DELETE FROM $table->{ref} WHERE " . some_rows($table)
		: "TRUNCATE $table->{ref}";
}

sub transaction
{
	my ($writer, $number, @tables) = @_;
	my @statements = map { statement(one_of(@tables)) } 1 .. one_of(1, 1, 2, 5, 20);
	if (chance(0.3))
	{
		my $at = int rand @statements;
		splice(@statements, $at, 0, 'SAVEPOINT s', (map { statement(one_of(@tables)) } 1 .. 3),
			one_of('ROLLBACK TO s', 'RELEASE s', 'ROLLBACK TO s; RELEASE s'));
	}
	my @altered = chance(0.05) ? alter(one_of(@tables)) : ();    # the last: what is made after it knows the new columns
	my $name = "'w${writer}_$number'";
	my $end = @altered || chance(0.7) ? 'COMMIT'
		: one_of('ROLLBACK', "PREPARE TRANSACTION $name; COMMIT PREPARED $name", "PREPARE TRANSACTION $name; ROLLBACK PREPARED $name");
	return join(";\n", 'BEGIN', @statements, @altered, $end) . ";\n";
}

# ---- the run
my $server = ChangefeedTest->start(changefeed => {messages => 'ON', 'stall-timeout' => 300},
	postgresql => {'changefeed.ring_size' => '128MB', logical_decoding_work_mem => '64kB'});
$server->sql(q{
	CREATE TYPE mood AS ENUM ('sad', 'happy, "very"'); CREATE TYPE pair AS (number int, "the word" text, list int[]);
		CREATE DOMAIN positive AS int CHECK (VALUE > 0);
	CREATE DOMAIN words AS text[]; CREATE TYPE whole AS (part pair, list words, feeling mood); CREATE EXTENSION hstore; CREATE EXTENSION citext;
	CREATE SCHEMA replay;
	CREATE TABLE replay.page (number serial, body jsonb);
	CREATE TABLE replay.keys (name text, key text[]);
	CREATE TABLE replay.copy (name text, fields jsonb);

	-- Applies the pages; returns how many UPDATEs and DELETEs did not find their row.
	CREATE FUNCTION replay.apply() RETURNS int LANGUAGE plpgsql AS $$
	DECLARE
		change jsonb;
		key_columns text[];
		before jsonb;
		previous jsonb;
		lost int := 0;
	BEGIN
		FOR change IN SELECT c FROM replay.page, jsonb_array_elements(body -> 'changes') WITH ORDINALITY e (c, place) ORDER BY number, place LOOP
			CONTINUE WHEN change ->> 'operation' = 'MESSAGE';
			IF change ->> 'operation' = 'TRUNCATE' THEN
				DELETE FROM replay.copy WHERE name = change ->> 'collection';
				CONTINUE;
			END IF;
			previous := NULL;
			IF change ->> 'operation' <> 'INSERT' THEN
				SELECT key INTO key_columns FROM replay.keys WHERE name = change ->> 'collection';
				before := coalesce(change -> 'old', change -> 'new');
				DELETE FROM replay.copy WHERE ctid = (
					SELECT ctid FROM replay.copy WHERE name = change ->> 'collection'
						AND CASE WHEN key_columns = '{}' THEN fields = before
							ELSE (SELECT bool_and(fields -> k = before -> k) FROM unnest(key_columns) k) END
					LIMIT 1)
					RETURNING fields INTO previous;
				lost := lost + (previous IS NULL)::int;
			END IF;
			IF change ->> 'operation' <> 'DELETE' THEN
				INSERT INTO replay.copy VALUES (change ->> 'collection', change -> 'new' || coalesce(
					(SELECT jsonb_object_agg(column_name, previous -> column_name) FROM jsonb_array_elements_text(change -> 'unchanged') column_name), '{}'));
			END IF;
		END LOOP;
		TRUNCATE replay.page;
		RETURN lost;
	END $$});
my @writers = map { my $writer = $_; [map { make_table($writer) } 1 .. 5] } 0 .. 1;
$server->sql(join '', map { $_->{sql} } map { @$_ } @writers);
$server->sql(join '', map { 'INSERT INTO replay.keys VALUES (' . quoted($_->{name}) . ", '{" . join(',', @{$_->{key}}) . "}');\n" } map { @$_ } @writers);
my $cursor = $server->now_lsn;
my $stream = $server->stream('/cdc/*');
my $number = 0;

# Both writers work, at the same time, until they have made so many transactions together.
sub write_transactions
{
	my ($count) = @_;
	my @pids;
	for my $writer (0 .. 1)
	{
		my $file = spew("$server->{dir}/writer$writer.sql", join '', map { transaction($writer, $number++, @{$writers[$writer]}) } 1 .. $count / 2);
		push @pids, $server->background("writer$writer", $server->psql_command, '-f', $file);
	}
	for my $writer (0 .. 1)
	{
		is($server->client_result($pids[$writer], ChangefeedTest::TEST_SECONDS), 0, "writer $writer") or diag($server->client_output("writer$writer"));
	}
	return;
}

# An id as text that sorts as ids do: 5-0.2.1 behind 5-2.
sub order
{
	my ($lsn, $n, $after, $m) = $_[0] =~ /^(\d+)-(\d+)(?:\.(\d+)\.(\d+))?$/;
	return sprintf '%020d %010d %010d', $lsn, $after // $n, $m // ($n == 0 ? 1 : 0);
}

# Polls to the end, in batches of random size, into replay.page; returns the ids.
sub poll_pages
{
	my ($more, @ids) = ('true');
	while ($more eq 'true')
	{
		my $body = $server->get("/cdc/*/poll?since_lsn=$cursor&limit=" . one_of(7, 100, 1000))->{content};
		($cursor, $more) = $body =~ /"since_lsn":"([\d.-]+)"\},"has_more":(true|false)/ or die "no cursor in $body";
		push @ids, $body =~ /"collection":(?:null|"(?:[^"\\]|\\.)*"),"id":"(\d+-[\d.]+)","schema"/g;
		$server->sql("INSERT INTO replay.page (body) VALUES (\$json\$$body\$json\$)");
	}
	return @ids;
}

sub is_copied
{
	my ($table) = @_;
	my $name = quoted($table->{name});
	my $differences = $server->sql(qq{
		WITH wanted AS (SELECT to_jsonb(t)::text FROM $table->{ref} t), got AS (SELECT fields::text FROM replay.copy WHERE name = $name)
		(SELECT 'missing', left(w::text, 500) FROM (TABLE wanted EXCEPT ALL TABLE got) w LIMIT 3)
			UNION ALL (SELECT 'surplus', left(g::text, 500) FROM (TABLE got EXCEPT ALL TABLE wanted) g LIMIT 3)});
	is($differences, '', "the copy of $table->{name}, of " . $server->sql("SELECT count(*) FROM $table->{ref}") . ' rows')
		or diag("identity $table->{identity}, seed $seed");
	return;
}

# In rounds, so that the ring holds what one of them makes.
for (my $left = $transactions; $left > 0; $left -= 300)
{
	write_transactions($left < 300 ? $left : 300);
	$server->wait_for_feed;
	my @ids = poll_pages();
	my @streamed = map { $_->{id} } $stream->events(scalar @ids);
	is_deeply(\@streamed, \@ids, 'a stream and polls give the same changes: ' . @ids) or diag($stream->{ended} ? 'the stream has ended' : 'the stream is open');
	cmp_ok(scalar(grep { /-0/ } @ids), '>', 0, 'messages among them');
	is_deeply([sort { order($a) cmp order($b) } @ids], \@ids, 'in the order of their ids');
	is($server->sql('SELECT replay.apply()'), 0, 'every UPDATE and DELETE finds its row');
	is_copied($_) for map { @$_ } @writers;
}

done_testing();
