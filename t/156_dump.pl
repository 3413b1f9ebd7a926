# A dump is restored in one transaction, as text and with pg_restore: it has the extension, and further down the publication
# with its tables, which CREATE EXTENSION would otherwise have made already.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use Test::More;

my $server = ChangefeedTest->start;
my @where = ('-h', $server->{dir}, '-U', 'postgres');
$server->publish('users', 'id text PRIMARY KEY, name text');
$server->sql("INSERT INTO users VALUES ('u1', 'Ann')");

sub runs
{
	my ($name, $program, @arguments) = @_;
	my ($status, $output) = run_command("$server->{bindir}/$program", @where, @arguments);
	return is($status, 0, $name) || diag($output);
}

sub is_restored
{
	my ($name, $database) = @_;
	is($server->sql(q{SELECT pubname, pubviaroot FROM pg_publication}, $database), 'changefeed|t', "$name: the publication is there");
	is($server->sql(q{SELECT schema, name FROM changefeed.collections WHERE published}, $database), 'public|users', "$name: with its table");
	is($server->sql(q{SELECT name FROM users}, $database), 'Ann', "$name: with its rows");
	return;
}

runs('pg_dump as text', 'pg_dump', '-f', "$server->{dir}/dump.sql", 'postgres');
runs('pg_dump as an archive', 'pg_dump', '-Fc', '-f', "$server->{dir}/dump", 'postgres');

$server->sql("CREATE DATABASE $_ TEMPLATE template0") for qw(as_text as_archive);
runs('psql restores it', 'psql', '-Xq1', '-v', 'ON_ERROR_STOP=1', '-f', "$server->{dir}/dump.sql", 'as_text');
is_restored('psql', 'as_text');
runs('pg_restore does', 'pg_restore', '-1', '-d', 'as_archive', "$server->{dir}/dump");
is_restored('pg_restore', 'as_archive');
runs('pg_restore --clean does, over what is there', 'pg_restore', '-1', '--clean', '-d', 'as_archive', "$server->{dir}/dump");
is_restored('pg_restore --clean', 'as_archive');

done_testing();
