# ChangefeedTest::Http2: frames as a test wants them, which no honest client would send (RFC 9113, RFC 7541).
package ChangefeedTest::Http2;

use strict;
use warnings;
use Exporter qw(import);

our @EXPORT_OK = qw(h2_frame h2_head h2_string);

sub h2_frame
{
	my ($type, $flags, $stream, $payload) = @_;
	return substr(pack('N', length $payload), 1) . pack('CCN', $type, $flags, $stream) . $payload;
}

# A string of less than 127 bytes, not compressed.
sub h2_string { return pack('C', length $_[0]) . $_[0]; }

# A block of header fields, given as names and values, all as literals that are not indexed.
sub h2_head { return join('', map { ($_ & 1 ? '' : "\0") . h2_string($_[$_]) } 0 .. $#_); }

1;
