# ChangefeedTest::Msgpack: decodes MessagePack (https://github.com/msgpack/msgpack/blob/master/spec.md), enough to
# compare a poll's MessagePack with its JSON.
#
#   my $document = ChangefeedTest::Msgpack::decode($bytes);
# Numbers come as numbers, str as text (decoded UTF-8), bin as bytes, nil as undef, booleans as JSON::PP's. Dies on
# malformed input, on bytes left over, and on extensions.
package ChangefeedTest::Msgpack;

use strict;
use warnings;

use Encode ();
use JSON::PP;

our ($bytes, $at);

sub decode
{
	local ($bytes, $at) = ($_[0], 0);
	my $value = value();
	$at == length($bytes) or die sprintf("%d bytes behind the document\n", length($bytes) - $at);
	return $value;
}

sub take
{
	my ($size) = @_;
	$at + $size <= length($bytes) or die "the document is cut off at byte $at\n";
	my $part = substr($bytes, $at, $size);
	$at += $size;
	return $part;
}

sub number { my ($template, $size) = @_; return unpack($template, take($size)); }

sub text  { return Encode::decode('UTF-8', take($_[0]), Encode::FB_CROAK); }
sub array { return [map { value() } 1 .. $_[0]]; }
sub map_of { return {map { my $key = value(); ($key => value()) } 1 .. $_[0]}; }

my %kinds = (
	0xc0 => sub { undef },
	0xc2 => sub { JSON::PP::false },
	0xc3 => sub { JSON::PP::true },
	0xc4 => sub { take(number('C', 1)) },
	0xc5 => sub { take(number('n', 2)) },
	0xc6 => sub { take(number('N', 4)) },
	0xca => sub { number('f>', 4) },
	0xcb => sub { number('d>', 8) },
	0xcc => sub { number('C', 1) },
	0xcd => sub { number('n', 2) },
	0xce => sub { number('N', 4) },
	0xcf => sub { number('Q>', 8) },
	0xd0 => sub { number('c', 1) },
	0xd1 => sub { number('s>', 2) },
	0xd2 => sub { number('l>', 4) },
	0xd3 => sub { number('q>', 8) },
	0xd9 => sub { text(number('C', 1)) },
	0xda => sub { text(number('n', 2)) },
	0xdb => sub { text(number('N', 4)) },
	0xdc => sub { array(number('n', 2)) },
	0xdd => sub { array(number('N', 4)) },
	0xde => sub { map_of(number('n', 2)) },
	0xdf => sub { map_of(number('N', 4)) },
);

sub value
{
	my $kind = number('C', 1);
	return $kind if $kind <= 0x7f;
	return map_of($kind & 0x0f) if $kind <= 0x8f;
	return array($kind & 0x0f) if $kind <= 0x9f;
	return text($kind & 0x1f) if $kind <= 0xbf;
	return $kind - 256 if $kind >= 0xe0;
	my $read = $kinds{$kind} or die sprintf("kind 0x%02x at byte %d\n", $kind, $at - 1);
	return $read->();
}

1;
