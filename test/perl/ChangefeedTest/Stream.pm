# ChangefeedTest::Stream: an SSE client over HTTP/1.1, read as the WHATWG's specification of EventSource says, with lines
# that end in LF as this server's do: a frame that ends otherwise is never seen, and its test fails.
#
#   my $stream = $server->stream('/cdc/users', headers => {'Last-Event-ID' => '42-1'});
#   $stream->{status}, $stream->{headers}       the response's head
#   $stream->event                              the next event with data: {event, data, json, id}
#   $stream->block                              the next block, also one that fires nothing: {id, retry, comments, ...}
#   $stream->{last_id}                          what EventSource would send as Last-Event-ID
#   $stream->body                               all of a response that has a length, such as a poll's
# With json => 0 nothing is decoded, for streams of many megabytes: JSON::PP is slow.
# event and block return nothing at the end of the stream or after the deadline (then $stream->{timed_out} is set).
package ChangefeedTest::Stream;

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use Time::HiRes qw(time);

my $json = JSON::PP->new->utf8->allow_nonref->allow_bignum;

sub new
{
	my ($class, %option) = @_;
	my $self = bless {deadline => $option{deadline} // 30, raw => '', text => '', last_id => '', decode => $option{json} // 1}, $class;
	$self->{socket} = $option{socket} // IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $option{port}, Proto => 'tcp')
	  or die "connect to port $option{port}: $!";
	$self->{select} = IO::Select->new($self->{socket});
	my %header = (Host => "127.0.0.1:$option{port}", Accept => 'text/event-stream', %{$option{headers} // {}});
	syswrite($self->{socket}, "GET $option{path} HTTP/1.1\r\n" . join('', map { "$_: $header{$_}\r\n" } sort keys %header) . "\r\n");
	$self->read_head unless $option{no_read};
	return $self;
}

# Reads more bytes; false at the end or after the deadline.
sub fill
{
	my ($self, $deadline) = @_;
	return 0 if $self->{ended};
	my $left = $deadline - time;
	if ($left < 0 || !$self->{select}->can_read($left))
	{
		$self->{timed_out} = 1;
		return 0;
	}
	my $size = sysread($self->{socket}, my $bytes, 65536);
	if (!$size)
	{
		$self->{ended} = 1;
		return 0;
	}
	$self->{raw} .= $bytes;
	return 1;
}

sub read_head
{
	my ($self) = @_;
	my $deadline = time + $self->{deadline};
	while ($self->{raw} !~ /\r\n\r\n/)
	{
		$self->fill($deadline) or last;
	}
	my ($head) = $self->{raw} =~ /^(.*?)\r\n\r\n/s or return;
	substr($self->{raw}, 0, length($head) + 4, '');
	($self->{status}) = $head =~ m{^HTTP/1\.1 (\d+)};
	$self->{headers} = {map { /^([^:]+):\s*(.*)$/ ? (lc $1 => $2) : () } split(/\r\n/, $head)};
	$self->{chunked} = ($self->{headers}{'transfer-encoding'} // '') eq 'chunked';
	return;
}

# The body of a response that has a length, or what has arrived of it by the deadline.
sub body
{
	my ($self) = @_;
	$self->read_head;
	my $deadline = time + $self->{deadline};
	while (length($self->{raw}) < ($self->{headers}{'content-length'} // 0))
	{
		$self->fill($deadline) or last;
	}
	return $self->{raw};
}

# Moves what has arrived from the connection's bytes to the body's text.
sub unchunk
{
	my ($self) = @_;
	if (!$self->{chunked})
	{
		$self->{text} .= $self->{raw};
		$self->{raw} = '';
		return;
	}
	while ($self->{raw} =~ /^([0-9A-Fa-f]+)[^\r\n]*\r\n/)
	{
		my ($head, $size) = (length($&), hex($1));
		last if length($self->{raw}) < $head + $size + 2;
		$self->{text} .= substr($self->{raw}, $head, $size);
		substr($self->{raw}, 0, $head + $size + 2, '');
		$self->{ended} = $self->{finished} = 1 if $size == 0;
	}
	return;
}

sub parse_block
{
	my ($self, $text) = @_;
	my %block = (data => undef, comments => 0);
	for my $line (split /\r\n|\n|\r/, $text)
	{
		if ($line =~ /^:/)
		{
			$block{comments}++;
			next;
		}
		my ($field, $value) = $line =~ /^([^:]*)(?:: ?(.*))?$/s;
		$value //= '';
		if ($field eq 'data')
		{
			$block{data} = defined $block{data} ? "$block{data}\n$value" : $value;
		}
		else
		{
			$block{$field} = $value;
		}
	}
	$self->{last_id} = $block{id} if defined $block{id};
	$block{last_id} = $self->{last_id};
	$block{json} = eval { $json->decode($block{data}) } if defined $block{data} && $self->{decode};
	return \%block;
}

sub block
{
	my ($self, $seconds) = @_;
	my $deadline = time + ($seconds // $self->{deadline});
	$self->{timed_out} = 0;
	while (1)
	{
		$self->unchunk;
		my $end = index($self->{text}, "\n\n");
		return $self->parse_block(substr($self->{text}, 0, $end + 2, '')) if $end >= 0;
		$self->fill($deadline) or return;
	}
}

sub event
{
	my ($self, $seconds) = @_;
	my $deadline = time + ($seconds // $self->{deadline});
	while (my $block = $self->block($deadline - time))
	{
		return $block if defined $block->{data};
	}
	return;
}

# The next $count events, or fewer if they do not come in time.
sub events
{
	my ($self, $count) = @_;
	my @events;
	while (@events < $count)
	{
		push @events, $self->event // last;
	}
	return @events;
}

# Events up to and including the one of which $is_last->($event) is true.
sub events_until
{
	my ($self, $is_last) = @_;
	my @events;
	while (my $event = $self->event)
	{
		push @events, $event;
		last if $is_last->($event);
	}
	return @events;
}

# Waits until the server ends the stream; false after the deadline.
sub wait_for_end
{
	my ($self, $seconds) = @_;
	my $deadline = time + ($seconds // $self->{deadline});
	while (!$self->{ended})
	{
		$self->fill($deadline) or last;
		$self->unchunk;
	}
	return $self->{ended};
}

sub close
{
	my ($self) = @_;
	close(delete $self->{socket}) if $self->{socket};
	return;
}

1;
