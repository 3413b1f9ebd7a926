# ChangefeedTest::Proxy: a TCP connection to PostgreSQL that breaks, hangs and crawls on demand.
#
#   my $proxy = ChangefeedTest::Proxy->new("$server->{dir}/.s.PGSQL.5432");      forwards 127.0.0.1:$proxy->{port} there
#   $proxy->order('cut 1234')      all connections end after so many more bytes from the server, wherever that is
#   $proxy->order('rate 50000')    at most so many bytes a second from the server for each connection; 0: no limit
#   $proxy->order('refuse')        no connection any more, and none that is there goes on; 'accept' ends it
#   $proxy->order('hold')          new connections are made, and nothing moves over them; 'accept' ends it
#   $proxy->order('freeze')        over the newest connection nothing moves any more, nor does its end; the others go on
#   $proxy->order('lead PATH')     new connections go there; those that are there stay where they are
#   $proxy->hang, $proxy->wake     the process is stopped: TCP goes on acknowledging, and nothing moves
#
# A process of its own with one loop; it ends with the test.
package ChangefeedTest::Proxy;

use strict;
use warnings;

use Errno ();
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ();
use Socket;
use Time::HiRes qw(time);

sub new
{
	my ($class, $path) = @_;
	my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 50, ReuseAddr => 1) or die "listen: $!";
	socketpair(my $orders, my $their_end, AF_UNIX, SOCK_STREAM, PF_UNSPEC) or die "socketpair: $!";
	my $self = bless {port => $listener->sockport, orders => $orders, owner => $$}, $class;
	$self->{pid} = fork // die "fork: $!";
	if ($self->{pid} == 0)
	{
		close($orders);
		eval { run({path => $path, listener => $listener, orders => $their_end, left => -1, rate => 0, open => 1, peer => {}}) };
		print STDERR $@ if $@;
		POSIX::_exit(0);
	}
	return $self;
}

sub order
{
	my ($self, $order) = @_;
	syswrite($self->{orders}, "$order\n");
	sysread($self->{orders}, my $done, 1);    # it is in force
	return;
}

sub hang { kill('STOP', $_[0]{pid}); return; }
sub wake { kill('CONT', $_[0]{pid}); return; }

sub DESTROY
{
	my ($self) = @_;
	return if $self->{owner} != $$;
	local ($?, $!, $@);
	kill('KILL', $self->{pid});
	waitpid($self->{pid}, 0);
	return;
}

# ---- the process
sub close_all
{
	my ($proxy) = @_;
	close($_->{socket}) for values %{$proxy->{peer}};
	$proxy->{peer} = {};
	return;
}

sub take_order
{
	my ($proxy) = @_;
	sysread($proxy->{orders}, my $text, 1000) or POSIX::_exit(0);
	my ($word, $what) = $text =~ /^(\w+) ?(.*)/;
	$proxy->{left} = $what if $word eq 'cut';
	$proxy->{rate} = $what if $word eq 'rate';
	$proxy->{path} = $what if $word eq 'lead';
	$proxy->{open} = $word eq 'accept' if $word =~ /^(accept|refuse)$/;
	$proxy->{hold} = $word eq 'hold' if $word =~ /^(accept|hold)$/;
	close_all($proxy) if $word eq 'refuse';
	push @{$proxy->{frozen}}, map { delete $proxy->{peer}{$_} } @{$proxy->{newest}} if $word eq 'freeze';    # kept open, and looked at no more
	syswrite($proxy->{orders}, '.');
	return;
}

sub take_connection
{
	my ($proxy) = @_;
	my $client = $proxy->{listener}->accept or return;
	my $server = $proxy->{open} ? IO::Socket::UNIX->new(Peer => $proxy->{path}) : undef;
	return unless $server;    # closed at once
	$_->blocking(0) for $client, $server;
	$proxy->{newest} = [$client, $server];
	$proxy->{peer}{$client} = {socket => $client, to => $server, unsent => ''};
	$proxy->{peer}{$server} = {socket => $server, to => $client, unsent => '', is_server => 1, allowed => 0, at => time};
	return;
}

# Writes what a socket takes; its unsent bytes are kept with the other one, which they came from.
sub push_bytes
{
	my ($proxy, $from) = @_;
	my $peer = $proxy->{peer}{$from} or return;
	my $size = syswrite($peer->{to}, $peer->{unsent});
	substr($peer->{unsent}, 0, $size, '') if $size;
	return;
}

sub crawls { my ($proxy, $peer) = @_; return $proxy->{rate} && $peer->{is_server}; }

# What may be read now, a tenth of a second's worth at most.
sub allow
{
	my ($proxy, $peer) = @_;
	return unless crawls($proxy, $peer);
	my $now = time;
	$peer->{allowed} += ($now - $peer->{at}) * $proxy->{rate};
	$peer->{allowed} = $proxy->{rate} / 10 if $peer->{allowed} > $proxy->{rate} / 10;
	$peer->{at} = $now;
	return;
}

sub forward
{
	my ($proxy, $from) = @_;
	my $peer = $proxy->{peer}{$from} or return;
	my $most = 65536;
	$most = int $peer->{allowed} if crawls($proxy, $peer);
	$most = $proxy->{left} if $peer->{is_server} && $proxy->{left} >= 0 && $proxy->{left} < $most;
	if ($most > 0)
	{
		my $size = sysread($from, my $bytes, $most);
		if (!$size)
		{
			return if !defined $size && $!{EAGAIN};
			delete @{$proxy->{peer}}{$from, $peer->{to}};
			close($_) for $from, $peer->{to};
			return;
		}
		$peer->{unsent} .= $bytes;
		push_bytes($proxy, $from);
		$peer->{allowed} -= $size if $peer->{is_server};
		$proxy->{left} -= $size if $peer->{is_server} && $proxy->{left} > 0;
	}
	if ($peer->{is_server} && $proxy->{left} == 0)
	{
		$proxy->{left} = -1;
		close_all($proxy);
	}
	return;
}

sub run
{
	my ($proxy) = @_;
	$SIG{PIPE} = 'IGNORE';
	$SIG{INT} = $SIG{TERM} = 'DEFAULT';
	alarm(0);
	while (1)
	{
		my @peers = values %{$proxy->{peer}};
		allow($proxy, $_) for @peers;
		my @resting = grep { crawls($proxy, $_) && $_->{allowed} < 1 } @peers;
		my $read = IO::Select->new($proxy->{hold} ? () : $proxy->{listener}, $proxy->{orders},
			map { crawls($proxy, $_) && $_->{allowed} < 1 ? () : $_->{socket} } @peers);
		my $write = IO::Select->new(map { $_->{unsent} ne '' ? $_->{to} : () } @peers);
		my ($readable, $writable) = IO::Select->select($read, $write, undef, @resting ? 0.02 : 1);
		push_bytes($proxy, $proxy->{peer}{$_}{to}) for grep { $proxy->{peer}{$_} } @{$writable // []};
		for my $socket (@{$readable // []})
		{
			$socket == $proxy->{orders} ? take_order($proxy) : $socket == $proxy->{listener} ? take_connection($proxy) : forward($proxy, $socket);
		}
	}
	return;
}

1;
