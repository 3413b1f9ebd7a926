# Order: interleaved transactions come in the order of their commits, whichever way a client reads them.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use Test::More;

my $server = ChangefeedTest->start;
$server->publish('items', 'id text PRIMARY KEY, v int');
my $stream = $server->stream('/cdc/items');

# Four sessions take turns; they commit in another order than they began and wrote.
my %session = map { $_ => $server->session } qw(a b c d);
my @script = (
	[a => 'BEGIN'], [b => 'BEGIN'], [a => "INSERT INTO items VALUES ('a1')"], [b => "INSERT INTO items VALUES ('b1')"],
	[c => 'BEGIN'], [c => "INSERT INTO items VALUES ('c1')"], [a => "INSERT INTO items VALUES ('a2')"],
	[b => "INSERT INTO items SELECT 'b' || i FROM generate_series(2, 4) i"], [d => "INSERT INTO items VALUES ('d1')"],
	[c => 'COMMIT'], [b => 'SAVEPOINT s'], [b => "INSERT INTO items VALUES ('b5')"], [b => 'RELEASE s'], [b => 'COMMIT'],
	[a => "UPDATE items SET v = 1 WHERE id = 'd1'"], [a => "INSERT INTO items VALUES ('a3')"], [a => 'COMMIT'],
);
my @lsn_before;
for my $step (@script)
{
	my ($name, $sql) = @$step;
	push @lsn_before, $server->now_lsn if $sql eq 'COMMIT';
	$session{$name}->query($sql);
}
my @wanted = qw(d1:1 c1:1 b1:1 b2:2 b3:3 b4:4 b5:5 a1:1 a2:2 d1:3 a3:4);
my @events = $stream->events(scalar @wanted);
is_deeply([map { $_->{json}{document_id} . ':' . $_->{id} =~ s/.*-//r } @events], \@wanted, 'the order of commits, numbered within each');

sub above
{
	my ($x, $y) = map { [split /-/, $_] } @_;
	return $x->[0] > $y->[0] || ($x->[0] == $y->[0] && $x->[1] > $y->[1]);
}
my @ids = map { $_->{id} } @events;
ok(!(grep { !above($ids[$_], $ids[$_ - 1]) } 1 .. $#ids), 'ids are strictly increasing');

# ---- the other ways to read give the same
is_deeply([map { $_->{id} } $server->poll_all('items', limit => 1)], \@ids, 'poll, one at a time');
is_deeply([map { $_->{id} } @{$server->poll('/cdc/items/poll')->{changes}}], \@ids, 'poll, all at once');
is($server->sql(q{SELECT string_agg(id, ' ' ORDER BY lsn, n) FROM changefeed.changes('items')}), "@ids", 'changefeed.changes()');
is($server->sql(q{SELECT string_agg(id, ' ') FROM changefeed.changes('items')}), "@ids", 'changefeed.changes(), in its own order');
my @resumed;
for my $id (undef, @ids[0 .. $#ids - 1])
{
	my $one = $server->stream('/cdc/items' . (defined $id ? '' : '?since_lsn=earliest'), headers => defined $id ? {'Last-Event-ID' => $id} : {});
	push @resumed, $one->event->{id};
	$one->close;
}
is_deeply(\@resumed, \@ids, 'streams, each resumed at the id of the one before');

# ---- pg_current_wal_insert_lsn() as a cursor, taken before each COMMIT of overlapping transactions
for my $case ([0, 'c1'], [1, 'b1'], [2, 'a1'])
{
	my ($at, $first) = @$case;
	is($server->poll("/cdc/items/poll?since_lsn=$lsn_before[$at]&limit=1")->{changes}[0]{document_id}, $first,
		"everything that committed after it, beginning with $first");
}

# ---- under load: what each writer wrote comes in its order, nothing is missing, nothing twice
my $since = $server->now_lsn;
$server->sql('CREATE TABLE log (writer int, step int, PRIMARY KEY (writer, step))');
$server->publish('log');
# A writer's transaction: three rows, in two statements.
sub three_rows
{
	my ($writer, $first) = @_;
	return "BEGIN; INSERT INTO log VALUES ($writer, $first); INSERT INTO log VALUES ($writer, $first + 1), ($writer, $first + 2); COMMIT";
}
my @writers = map { $server->session } 1 .. 4;
for my $writer (1 .. 4)
{
	$writers[$writer - 1]->send(join(";\n", map { three_rows($writer, 3 * $_) } 0 .. 299));
}
my $live = $server->stream("/cdc/log?since_lsn=$since");
my (%next, $disorder, $previous);
for my $count (1 .. 4 * 900)
{
	my $event = $live->event or last;
	$disorder++ if defined $previous && !above($event->{id}, $previous);
	$previous = $event->{id};
	my ($writer, $step) = @{$event->{json}{new}}{qw(writer step)};
	$disorder++ if $step != ($next{$writer} //= 0)++;
}
$_->finish for @writers;
is($disorder, undef, 'four writers: increasing ids, and each writer in its own order');
is_deeply(\%next, {map { $_ => 900 } 1 .. 4}, 'four writers: all of it, once');

done_testing();
