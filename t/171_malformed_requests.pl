# Malformed, oversized and odd requests, byte for byte, over HTTP/1.1 and HTTP/2: each gets its 4xx or the right
# answer, no header is split, nothing is framed in two ways, no file is reached, no worker dies.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use ChangefeedTest::Http2 qw(h2_frame h2_head h2_string);
use IO::Select;
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(time);

my $server = ChangefeedTest->new(changefeed => {heartbeat => 1, cors => ['https://app.example'], 'tenant-column' => 'tenant'}, h2o => {'num-threads' => 1});
mkdir "$server->{dir}/files";
spew("$server->{dir}/files/page.txt", 'a page');
spew("$server->{dir}/secret", 'a secret');
$server->{h2o}{hosts}{default}{paths}{'/files'} = {'file.dir' => "$server->{dir}/files"};
$server->begin;
$server->publish('users', 'id text PRIMARY KEY');
$server->publish('"2fusers"', 'id int PRIMARY KEY');    # no slash, and half an escape of one, in front of a name
$server->sql(q{INSERT INTO users VALUES ('u1')});
$server->wait_for_feed;
my $workers = $server->processes->{workers};

sub open_connection { return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $server->{http_port}) // die "connect: $!"; }

# What comes until $is_enough->($bytes), with ' closed' if the connection ended before.
sub read_until
{
	my ($socket, $is_enough) = @_;
	my $select = IO::Select->new($socket);
	my ($bytes, $deadline) = ('', time + ChangefeedTest::DEADLINE);
	until ($is_enough->($bytes))
	{
		return ($bytes, ' late') if !$select->can_read($deadline - time);
		sysread($socket, $bytes, 65536, length $bytes) or return ($bytes, ' closed');
	}
	return ($bytes, '');
}

sub statuses { return join(' ', $_[0] =~ m{HTTP/1\.1 (\d+) }g); }

# Sends bytes on a connection of their own and reads as much as $expected names: statuses, and `closed`.
sub answers
{
	my ($bytes, $expected, $what, $content) = @_;
	my $socket = open_connection();
	syswrite($socket, $bytes);
	my $wanted = $expected =~ s/ ?closed//r;
	my $is_enough = sub
	{
		my $statuses = statuses($_[0]);
		return substr($wanted, 0, length $statuses) ne $statuses
		  || ($expected !~ /closed/ && $statuses eq $wanted && $_[0] =~ /\r\n\r\n/ && (!defined $content || $_[0] =~ $content));
	};
	my ($got, $end) = read_until($socket, $is_enough);
	is((statuses($got) . $end) =~ s{^ }{}r, $expected, $what) or diag($got);
	unlike($got, qr/^X-Injected/mi, "$what: no header is split");
	unlike($got, qr/a secret|root:/, "$what: no file is shown");
	like($got, $content, "$what: content") if defined $content;
	return $got;
}

sub get { return "GET $_[0] HTTP/1.1\r\nHost: x\r\n" . ($_[1] // '') . "\r\n"; }

# ---- what is no request is answered with 400, and the connection is over
my %broken = (
	'a control character in the method' => "GE\1T /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
	'NUL in the path' => get("/cdc/us\0ers"),
	'NUL in a header' => get('/healthz', "X: a\0b\r\n"),
	'NUL behind a cursor' => get('/cdc/users', "Last-Event-ID: 1-1\0\r\n"),
	'CR in a header' => get('/healthz', "X: a\rX-Injected: 1\r\n"),
	'a space before the colon' => get('/healthz', "X : a\r\n"),
	'a header without a name' => get('/healthz', ": a\r\n"),
	'HTTP/0.9' => "GET /healthz\r\n\r\n",
	'HTTP/9.9' => "GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n",
	'all bytes there are' => join('', map { chr } 0 .. 255),
	'TLS on a port without' => "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" . "\0" x 500,
	'200 headers' => get('/healthz', join('', map { "X-$_: x\r\n" } 1 .. 200)),
);
answers($broken{$_}, '400 closed', $_) for sort keys %broken;

# ---- exactly one Host, or who stands between might choose another (RFC 9112, 3.2)
my $one = get('/healthz');
my %hosts = (
	'no Host' => ["GET /healthz HTTP/1.1\r\nX-Host: x\r\n\r\n", '400 closed'],
	'no Host, and a whole URL' => ["GET http://x/healthz HTTP/1.1\r\n\r\n", '400 closed'],
	'no Host in the second of two' => ["${one}GET /healthz HTTP/1.1\r\n\r\n$one", '200 400 closed'],
	'two Hosts' => [get('/healthz', "hOST: y\r\n") . $one, '400 closed'],
	'twice the same Host' => [get('/cdc/users', "Accept: */*\r\nHost: x\r\n"), '400 closed'],
	'two Hosts, HTTP/1.0' => ["GET /healthz HTTP/1.0\r\nHost: x\r\nHost: x\r\n\r\n", '400 closed'],
	'no Host, HTTP/1.0' => ["GET /healthz HTTP/1.0\r\n\r\n", '200 closed'],
	'an empty Host, behind an empty line' => ["\r\nGET /healthz HTTP/1.1\r\nHost:\r\n\r\n", '200'],
	'a Host in the next request' => [$one x 3, '200 200 200'],
	'a Host in the body' => ["GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n\nHost: y\n", '200 closed'],
);
answers(@{$hosts{$_}}, $_) for sort keys %hosts;

# ---- the whole URL instead of a path (RFC 9112, 3.2.2)
my %whole = (
	'http://x/healthz' => '200',
	'http://y:1/healthz?a=b' => '200',
	'https://x/healthz' => '200',
	'http://x/cdc/users/poll?limit=1' => '200',
	'http://x' => '200',
	'http://x/nosuch' => '404',
	'http://x/cdc/%ff' => '400',
	'http://x/%00' => '400',
	'http://x/cdc/../../etc/passwd' => '404',
	'http://' => '404',
	'http:///healthz' => '404',
	'ftp://x/healthz' => '404',
	'http://x/http://x/healthz' => '404',
);
answers(get($_) . $one, "$whole{$_} 200", $_) for sort keys %whole;
answers(get('http://x/cdc/users?since_lsn=earliest'), '200', 'a stream by its URL', qr/^event: insert$/m);

# ---- bodies: nothing here takes one. What follows one might be a part of it in the eyes of a proxy: the connection ends
my $next = get('/healthz');
my %bodies = (
	'Content-Length that is a list' => ['400 closed', "Content-Length: 3, 5\r\n\r\nabcde"],
	'Content-Length below 0' => ['400 closed', "Content-Length: -3\r\n\r\nabcde"],
	'Content-Length of 23 digits' => ['400 closed', 'Content-Length: ' . '9' x 23 . "\r\n\r\nabcde"],
	'two Content-Length that differ' => ['405 closed', "Content-Length: 3\r\nContent-Length: 5\r\n\r\nabcde$next"],
	'Content-Length and chunks' => ['405 closed', "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n$next"],
	'chunks of no size' => ['400 closed', "Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n"],
	'a chunk of 2^72' => ['400 closed', "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nabc\r\n"],
	'another Transfer-Encoding' => ['400 closed', "Transfer-Encoding: gzip\r\n\r\nabc"],
	'a body' => ['405 closed', "Content-Length: 5\r\n\r\nabcde$next"],
	'4 kB' => ['405 closed', "Content-Length: 4096\r\n\r\n" . 'x' x 4096],
	'more than 4 kB' => ['413 closed', "Content-Length: 4097\r\n\r\n"],
	'100 kB' => ['413 closed', "Content-Length: 100000\r\n\r\n" . 'x' x 100_000],
	'100 kB in chunks' => ['413 closed', "Transfer-Encoding: chunked\r\n\r\n186a0\r\n" . 'x' x 100_000 . "\r\n0\r\n\r\n"],
	'Expect: 100-continue' => ['100', "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"],
	'another Expect' => ['417 closed', "Expect: miracles\r\nContent-Length: 5\r\n\r\n"],
);
answers("POST /cdc/users HTTP/1.1\r\nHost: x\r\n$bodies{$_}[1]", $bodies{$_}[0], "POST: $_") for sort keys %bodies;
answers("GET /cdc/users/poll HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde$next", '200 closed', 'GET with a body');
answers("GET /files/page.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde$next", '200 closed', 'GET of a file with a body', qr/a page/);

# ---- paths
my %paths = (
	'/cdc/%00' => 400, '/cdc/%' => 400, '/cdc/%zz' => 400, '/cdc/%ff' => 400, "/cdc/\xc3" => 400, '/cdc/%ed%a0%80' => 400, # no UTF-8
	'/cdc/a%0d%0aX-Injected:%201' => 404,
	'/cdc/%3Cscript%3E' => 404,
	'/cdc/..' => 404, '/cdc/%2e%2e/healthz' => 404, '/cdc/../../etc/passwd' => 404, '/cdc//users' => 404, '/%63dc/users' => 404, '//cdc/users' => 404,
	'/cdc%2fusers/poll' => 404, '/cdc/2fusers/poll' => 200,
	'/cdc/a.b.c' => 404, '/cdc/,' => 400, '/cdc/users,' => 400,
	'/cdc/' . 'n' x 10_000 => 400,
	'/cdc/' . join(',', map { "t$_" } 1 .. 2000) => 400,
	'/cdc/users?' . 'a=b&' x 4000 => 200,
	'/cdc/users?' . 'a=b&' x 50_000 => 414,
	'/' . 'x/../' x 3000 => 404,
	'/' . 'x' x 100_000 => 414,
	'/healthz#x' => 404, '/healthz/' => 404, '?' => 404, 'healthz' => 404, '*' => 404,
	'/files/page.txt' => 200, '/files/../page.txt' => 404, '/files/x/../page.txt' => 200,
	(map { ("/files/$_" => 404) } '../secret', '%2e%2e/secret', '%2e%2e%2fsecret', '..%2fsecret', '.%2e/secret',
		'%2e%2e%5csecret', "..\\secret", '....//secret',
		'page.txt/../../secret', '/../secret', 'x/../../secret', '%c0%ae%c0%ae/secret', '..;/secret', '%252e%252e/secret', "$server->{dir}/secret"),
	'/../secret' => 404, '/%2e%2e/etc/passwd' => 404, '/files/%00' => 400, '/files/page.txt%00.html' => 400,
);
answers(get($_), $paths{$_}, substr($_, 0, 60)) for sort keys %paths;

# ---- parameters: what is echoed in an error is one JSON string
for my $parameter (qw(since_lsn since_ms last_event_id operations on_gap payload numbers format tenant_id columns))
{
	my $got = answers(get("/cdc/users?$parameter=%00"), 400, "$parameter=%00");
	$got = answers(get("/cdc/users?$parameter=a%0d%0aX-Injected:%201%22%0a%0aevent:%20x"),
		$parameter =~ /tenant_id|columns/ ? 200 : 400, "$parameter with line ends");
	unlike($got, qr/^event: x/m, "$parameter: and no event is made");
	answers(get("/cdc/users?$parameter=" . 'x' x 10_000), $parameter eq 'columns' ? 200 : 400, "$parameter of 10 kB");
}
for my $parameter (qw(limit=0 limit=-1 limit= limit=1e3 limit=1e30 wait=-1 wait=NaN wait=61x since_ms=-1 since_lsn=0/G))
{
	answers(get("/cdc/users/poll?$parameter"), 400, $parameter);
}
answers(get('/cdc/users/poll?since_lsn=earliest&since_lsn=now'), 400, 'a parameter that is there twice', qr/since_lsn is there twice/);
answers(get('/cdc/users?tenant_id=1&tenant%5Fid=1'), 400, 'one that a proxy may have set', qr/tenant_id is there twice/);
answers(get('/cdc/users/poll?_=1&_=2&since_lsn=now'), 200, 'one that is ours to ignore', qr/"count":0\}/);
answers(get('/cdc/users/poll?&&&=&=x&'), 200, 'parameters that are none', qr/"count":1\}/);

# ---- headers
answers(get('/cdc/users', 'Last-Event-ID: ' . '9' x 23 . "-1\r\n"), 400, 'a cursor of 23 digits');
answers(get('/cdc/users', 'Last-Event-ID: ' . 'x' x 20_000 . "\r\n"), 400, 'a cursor of 20 kB');
answers(get('/healthz', 'X: ' . 'x' x 30_000 . "\r\n"), 200, 'a header of 30 kB');
answers(get('/cdc/users', 'X: ' . 'x' x 33_000 . "\r\n"), 431, 'one of 33 kB');
answers(get('/healthz', 'X: ' . 'x' x 200_000 . "\r\n"), 431, 'one of 200 kB');
answers(get('/healthz', 'X: ' . 'x' x 200_000), 'closed', 'and one without an end');
answers(get('/cdc/users/poll', "Origin: https://app.example\tX\r\n"), 200, 'an odd origin', qr/^(?!.*access-control-allow)/si);
answers(get('/cdc/users/poll', 'Accept: ' . 'application/msgpack;q=9999999999.99999,' x 700 . "\r\n"), 200, 'an Accept of 28 kB');
answers(get('/', "Range: bytes=0-3\r\n"), 200, 'Range is not for what changes', qr/<!doctype/);
answers(get('/cdc/users', "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"),
	200, 'WebSocket is not spoken');
answers(get('/cdc/users', "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: !!!!\r\n"), 200, 'h2c with broken settings');
answers("GET /healthz HTTP/1.0\r\n\r\n", '200 closed', 'HTTP/1.0');
answers("GET /cdc/users?since_lsn=earliest HTTP/1.0\r\n\r\n", 200, 'a stream over HTTP/1.0', qr/^(?!.*chunked).*^retry: /msi);

# ---- each method of each route; the next request on the connection shows that nothing more was sent
for my $route (qw(/ /cdc /cdc/users /cdc/users/poll /healthz /readyz /metrics))
{
	my $got = answers("HEAD $route HTTP/1.1\r\nHost: x\r\n\r\n$next", '200 200', "HEAD $route");
	my ($first) = $got =~ /\r\n\r\n(.*)\z/s;
	like($first, qr{^HTTP/1\.1 200}, "HEAD $route has no body");
	answers("OPTIONS $route HTTP/1.1\r\nHost: x\r\n\r\n$next", '204 200', "OPTIONS $route", qr/^allow: GET, HEAD, OPTIONS\r$/mi);
	answers("$_ $route HTTP/1.1\r\nHost: x\r\n\r\n$next", '405 200', "$_ $route") for qw(DELETE TRACE PROPFIND get), 'X' x 5000;
}
answers("HEAD $_ HTTP/1.1\r\nHost: x\r\n\r\n$next", '404 200', "HEAD $_") for qw(/nosuch /cdc/nosuch /cdc/nosuch/poll /cdc/users/x);
like(answers(get('/healthz'), 200, 'the status line'), qr{^HTTP/1\.1 200 OK\r\n}, 'says OK');

# ---- pipelined: behind a poll in order, behind a stream never
answers($next x 50, join(' ', (200) x 50), '50 requests at once');
my $stream = ChangefeedTest::Stream->new(socket => open_connection(), port => $server->{http_port},
	path => "/cdc/users HTTP/1.1\r\nHost: x\r\n\r\n" . 'GET /healthz',
	deadline => ChangefeedTest::DEADLINE);
$server->sql(q{INSERT INTO users VALUES ('u2')});
is($stream->event->{json}{document_id}, 'u2', 'a request behind a stream is not answered in it');
is($stream->{raw} . $stream->{text}, '', 'nothing else came');

# ---- HTTP/2
sub h2_request { return h2_frame(1, 5, 1, h2_head(@_)); }
my @good = (':method', 'GET', ':scheme', 'http', ':authority', 'x', ':path', '/cdc/users/poll');

# The length of a string as HPACK has it: seven bits, and what is left of it.
sub h2_length
{
	my ($bytes, $rest) = $_[0] < 127 ? (pack('C', $_[0]), undef) : ("\x7f", $_[0] - 127);
	while (defined $rest)
	{
		$bytes .= pack('C', $rest & 127 | ($rest > 127 ? 128 : 0));
		$rest = $rest > 127 ? $rest >> 7 : undef;
	}
	return $bytes;
}

# Sends frames; returns the types of those that come until HEADERS (1), RST_STREAM (3) or GOAWAY (7).
sub h2_answers
{
	my ($what, @frames) = @_;
	my $socket = open_connection();
	syswrite($socket, join('', "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", h2_frame(4, 0, 0, ''), @frames));
	my @types;
	my ($bytes, $end) = read_until($socket, sub
		{
			@types = ();
			for (my $at = 0; $at + 9 <= length $_[0]; )
			{
				push @types, ord substr($_[0], $at + 3, 1);
				$at += 9 + unpack('N', "\0" . substr($_[0], $at, 3));
			}
			return grep { $_ == 1 || $_ == 3 || $_ == 7 } @types;
		});
	return join(' ', @types) . $end;
}
like(h2_answers('a request', h2_request(@good)), qr/\b1\b/, 'HTTP/2: a request is answered');
my @upload = (':method', 'POST', @good[2 .. 5], ':path', '/cdc/users');
for my $body ('x' x 4096, 'x' x 4097)
{
	my $got = h2_answers('a body', h2_frame(1, 4, 1, h2_head(@upload)),
		h2_frame(0, 0, 1, $body), h2_frame(6, 0, 0, 'pingping'), h2_frame(0, 1, 1, ''));
	like($got, length $body > 4096 ? qr/^(?!.* 1\b).*\b3\b/ : qr/\b1\b/, 'HTTP/2: a body of ' . length($body) . ' bytes');
}
my %h2_broken = (
	'no :path' => [h2_request(@good[0 .. 5])],
	'an empty :path' => [h2_request(@good[0 .. 5], ':path', '')],
	'a :path without /' => [h2_request(@good[0 .. 5], ':path', 'x')],
	'a name in upper case' => [h2_request(@good, 'X-Upper', '1')],
	'a pseudo-header behind a header' => [h2_request('x', '1', @good)],
	'an unknown pseudo-header' => [h2_request(@good, ':x', '1')],
	'Connection' => [h2_request(@good, 'connection', 'close')],
	'line ends in a value' => [h2_request(@good, 'last-event-id', "1-1\r\nX-Injected: 1")],
	'line ends in a name' => [h2_request(@good, "x\r\nx-injected", '1')],
	'line ends in :path' => [h2_request(@good[0 .. 5], ':path', "/cdc/users/poll?since_lsn=1\r\nX-Injected: 1")],
	'an index beyond the table' => [h2_frame(1, 5, 1, "\xff\xff\xff\x7f")],
	'a literal that is cut off' => [h2_frame(1, 5, 1, "\0\x7fabc")],
	'a table of 4 GB' => [h2_frame(1, 5, 1, "\x3f\xff\xff\xff\xff\x0f")],
	'HEADERS on stream 0' => [h2_frame(1, 5, 0, '')],
	'HEADERS on an even stream' => [h2_frame(1, 5, 2, '')],
	'DATA on stream 0' => [h2_frame(0, 1, 0, 'x')],
	'DATA on an idle stream' => [h2_frame(0, 1, 5, 'x')],
	'RST_STREAM of an idle stream' => [h2_frame(3, 0, 5, "\0\0\0\0")],
	'WINDOW_UPDATE by 0' => [h2_frame(8, 0, 0, "\0\0\0\0")],
	'WINDOW_UPDATE beyond 2^31' => [h2_frame(8, 0, 0, "\x7f\xff\xff\xff"), h2_frame(8, 0, 0, "\x7f\xff\xff\xff")],
	'a window of 2^32' => [h2_frame(4, 0, 0, "\0\4\xff\xff\xff\xff")],
	'frames of 1 byte at most' => [h2_frame(4, 0, 0, "\0\5\0\0\0\1")],
	'SETTINGS of 5 bytes' => [h2_frame(4, 0, 0, "\0\4\0\0\0")],
	'SETTINGS on a stream' => [h2_frame(4, 0, 1, '')],
	'PING of 7 bytes' => [h2_frame(6, 0, 0, 'x' x 7)],
	'CONTINUATION of nothing' => [h2_frame(9, 4, 1, '')],
	'PUSH_PROMISE' => [h2_frame(5, 4, 1, "\0\0\0\2")],
	'a frame of 16 MB' => ["\xff\xff\xff\0\0\0\0\0\1" . 'x' x 1000],
	'padding longer than its frame' => [h2_frame(1, 0xd, 1, "\xff\x82")],
	'a stream that depends on itself' => [h2_frame(2, 0, 1, "\0\0\0\1\0")],
	'a request that names itself again' => [h2_request(@good), h2_request(@good)],
);
for my $what (sort keys %h2_broken)
{
	my $got = h2_answers($what, @{$h2_broken{$what}}, h2_frame(6, 0, 0, 'pingping'));
	# what HTTP/1.1 could not even frame is a request like others here
	like($got, $what =~ /line ends|:path/ ? qr/ [13]\b/ : qr/ 7$/, "HTTP/2: $what");
}

# ---- HPACK: a header that came once is a byte each further time (0xbe, the newest in the table)
sub peak_kb { return slurp("/proc/$workers->[0]/status") =~ /^VmHWM:\s+(\d+) kB/m ? $1 : 0; }
my $peak_kb = peak_kb();
my %repeated = ('small ones' => ['x', 'y'], 'large ones' => ['x', 'y' x 4000], 'Cache-Digest' => ['cache-digest', '-D' . '_' x 3998],
	'content-length' => ['content-length', '0'], host => ['host', 'x']);
for my $what (sort keys %repeated)
{
	my ($name, $value) = @{$repeated{$what}};
	my $block = h2_head(@good) . '@' . h2_string($name) . h2_length(length $value) . $value . "\xbe" x 4000;
	like(h2_answers($what, h2_frame(1, 5, 1, $block)), qr/ 7$/, "HTTP/2: 4,000 headers, $what");
}
my $grown_kb = peak_kb() - $peak_kb;
cmp_ok($grown_kb, '<', 16 * 1024, "which made the worker hold $grown_kb kB more");

# ---- all that, and
is($server->get('/healthz')->{status}, 200, 'it is alive');
is_deeply($server->processes->{workers}, $workers, 'in the same worker');
$server->sql(q{INSERT INTO users VALUES ('u3')});
is($stream->event->{json}{document_id}, 'u3', 'and the stream of before goes on');

done_testing();
