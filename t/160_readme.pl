# The commands of README.md and docs/operation.md do what is said there.
#
# A fenced block is run if the line before it is a comment of this form; all blocks run in one shell session each, in
# order, against one server that was set up as README.md says:
#
#   <!-- test: expect /regular expression/ -->        the output matches
#   <!-- test: run -->                                it ends with status 0
#   <!-- test: skip, because ... -->                  for a reader only; the reason is shown
#
# ```sh blocks run in sh -e, ```sql blocks in psql. Commands that stream (curl -N) end after three seconds, which is
# no error. Port 7080, the one that is printed, is replaced by the test's. A block of sh or sql, or of no language, without
# such a line fails the test: no command that is printed stays untested by accident.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use Test::More;

my $server = ChangefeedTest->start(changefeed => {heartbeat => 1});

# {language, wanted, text, place} for each fenced block of sh, sql or no language.
sub blocks
{
	my ($file) = @_;
	my (@blocks, $block, $mark);
	my $number = 0;
	for my $line (split /\n/, slurp("$ChangefeedTest::root/$file"))
	{
		$number++;
		if ($block && $line =~ /^```\s*$/)
		{
			push @blocks, $block if $block->{language} =~ /^(sh|sql|)$/;
			undef $block;
		}
		elsif ($block)
		{
			$block->{text} .= "$line\n";
		}
		elsif ($line =~ /^```(\w*)/)
		{
			$block = {language => $1, wanted => $mark, text => '', place => "$file:$number"};
		}
		$mark = $line =~ /^<!--\s*test:\s*(.*?)\s*-->$/ ? $1 : undef unless $line eq '';
	}
	return @blocks;
}

# curl -N is a stream: it is given three seconds, and that it did not end is no error.
my $curl = spew("$server->{dir}/curl", <<'SH');
#!/bin/sh
for argument; do
	case $argument in -N | -sN | -Ns) timeout 3 /usr/bin/curl "$@"; status=$?; [ $status = 124 ] && status=0; exit $status ;; esac
done
exec /usr/bin/curl "$@"
SH
chmod(0755, $curl);

sub run_block
{
	my ($block) = @_;
	my $text = $block->{text} =~ s/\b7080\b/$server->{http_port}/gr;
	return run_command($server->psql_command, '-f', spew("$server->{dir}/block.sql", $text)) if $block->{language} eq 'sql';
	local $ENV{PATH} = "$server->{dir}:$server->{bindir}:$ENV{PATH}";
	local @ENV{qw(PGHOST PGUSER PGDATABASE)} = ($server->{dir}, 'postgres', $server->{database});
	return run_command('/bin/sh', '-e', '-c', "cd '$ChangefeedTest::root'\n$text");
}

sub check_block
{
	my ($block) = @_;
	my $what = $block->{place};
	my $wanted = $block->{wanted} // '';
	if ($wanted =~ /^skip,\s*(.+)/)
	{
		pass("$what is not run, $1");
	}
	elsif ($wanted =~ m{^(?:run|expect\s+/(.*)/)$})
	{
		my $pattern = $1;
		my ($status, $output) = run_block($block);
		is($status, 0, "$what runs") or diag("$block->{text}\n$output");
		like($output, qr/$pattern/m, "$what prints what it says") if defined $pattern;
	}
	else
	{
		fail("$what is marked `test: run`, `test: expect /.../` or `test: skip, because ...`");
	}
	return;
}

for my $file ('README.md', 'docs/operation.md')
{
	my @blocks = blocks($file);
	cmp_ok(scalar @blocks, '>', 0, "$file has commands");
	check_block($_) for @blocks;
}

done_testing();
