# ChangefeedTest::Session: one psql that stays connected, so that a test decides how transactions interleave.
#
#   my $a = $server->session;
#   $a->query('BEGIN');              waits until the server has answered; dies on an error
#   $a->send('INSERT ...');          does not wait, for statements that are to block
#   $a->finish;                      waits for what was sent
package ChangefeedTest::Session;

use strict;
use warnings;

use IPC::Open2;

sub new
{
	my ($class, @command) = @_;
	my $self = bless {count => 0}, $class;
	my $command = join(' ', map { my $word = $_; $word =~ s/'/'\\''/g; "'$word'" } @command);
	$self->{pid} = open2($self->{from}, $self->{to}, "exec $command 2>&1");
	return $self;
}

sub send
{
	my ($self, $sql) = @_;
	my $mark = 'answered-' . ++$self->{count};
	print {$self->{to}} "$sql;\n\\echo $mark\n";
	$self->{to}->flush;
	$self->{mark} = $mark;
	return $self;
}

sub finish
{
	my ($self) = @_;
	my $output = '';
	while (defined(my $line = readline($self->{from})))
	{
		return $output if $line eq "$self->{mark}\n";
		$output .= $line;
	}
	die "psql ended: $output";
}

sub query
{
	my ($self, $sql) = @_;
	my $output = $self->send($sql)->finish;
	chomp $output;
	return $output;
}

sub close
{
	my ($self) = @_;
	my $pid = delete $self->{pid} or return;
	close($self->{to});
	close($self->{from});
	waitpid($pid, 0);
	return;
}

sub DESTROY
{
	my ($self) = @_;
	local ($?, $!, $@);
	$self->close;
	return;
}

1;
