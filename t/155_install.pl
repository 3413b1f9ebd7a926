# make install and make uninstall, into a directory of their own: what the one brings the other takes away again, except
# for an h2o.conf that somebody wrote in; and the server can read it. And what scripts/install-dependencies says where it cannot install.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use File::Find;
use File::Temp qw(tempdir);
use Test::More;

my $stage = tempdir('changefeed_XXXXXX', TMPDIR => 1, CLEANUP => 1);
my @make = ('make', '-s', '-C', $ChangefeedTest::root, "DESTDIR=$stage");

# What is installed is for the server's user as well, whatever the umask of him who installs.
umask(077);

# The staged files, without their directories.
sub installed
{
	my @names;
	find(sub { push @names, $_ if -f }, $stage);
	return [sort @names];
}

# The modes of the staged directories that no one else has made.
sub directories_of_its_own
{
	my @modes;
	find(sub { push @modes, (stat)[2] & 0777 if -d && $_ eq 'pg_changefeed' }, $stage);
	return \@modes;
}

sub make
{
	my ($target) = @_;
	my ($status, $output) = run_command(@make, $target);
	is($status, 0, "make $target") or diag($output);
	return;
}

plan(skip_all => 'this tree is not built: make') if run_command(@make, '-q', 'all') != 0;
make('install');
my @files = qw(h2o.conf pg_changefeed pg_changefeed--0.1.sql pg_changefeed.control pg_changefeed.so);
is_deeply([grep { !/\.bc$/ } @{installed()}], \@files, 'what is installed');
my %path;
find(sub { $path{$_} = $File::Find::name if -f }, $stage);
my @symbols = map { (split)[-1] } split /\n/, (run_command('nm', '-D', '--defined-only', $path{'pg_changefeed.so'}))[1];
is_deeply([grep { !/^(?:_PG_init|Pg_magic_func|pg_changefeed_launcher_main|(?:pg_finfo_)?changefeed_\w+)$/ } @symbols], [],
	'no name of the library can be taken for one of another: the server loads all of them into one space');
cmp_ok(scalar(@symbols), '>=', 11, 'what the server looks for is there');
ok((run_command('nm', '-D', $path{pg_changefeed}))[1] =~ /__stack_chk_fail/, 'the program is hardened');
is_deeply(directories_of_its_own(), [0755], 'with one directory of its own, which everybody may read');
make('uninstall');
is_deeply(installed(), [], 'nothing is left');
is_deeply(directories_of_its_own(), [], 'no directory of its own either');

make('install');
find(sub { spew($File::Find::name, "# mine\n") if $_ eq 'h2o.conf' }, $stage);
make('install');
make('uninstall');
is_deeply(installed(), ['h2o.conf'], 'an h2o.conf that was changed stays, and is not written over');

# sudo looks for programs elsewhere, and may find the pg_config of another version.
my $programs = tempdir('changefeed_XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod(0755, spew("$programs/pg_config", "#!/bin/sh\necho /nonexistent\n"), spew("$programs/sudo", "#!/bin/sh\necho sudo \$*\n"));
my $said = (run_command('/usr/bin/env', '-u', 'PG_CONFIG', "PATH=$programs:$ENV{PATH}", '/bin/sh', "$ChangefeedTest::root/scripts/install-into-server"))[1];
like($said, qr/^sudo make .*PG_CONFIG=\Q$programs\E\/pg_config$/m, 'scripts/install-into-server installs for the pg_config that was built with');

# Where there is no apt-get: a PATH without anything is the same.
my ($status, $output) = run_command('/usr/bin/env', 'PATH=/nonexistent', '/bin/sh', "$ChangefeedTest::root/scripts/install-dependencies");
is($status, 1, 'scripts/install-dependencies on another system');
like($output, qr/^\s.*\b$_\b/m, "it names $_") for qw(PostgreSQL libpq libh2o OpenSSL libyaml Jansson msgpack-c xxHash zlib);

done_testing();
