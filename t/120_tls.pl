# TLS and HTTP/2: streams over h2 with TLS, h2c with prior knowledge, a certificate that is replaced.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use Fcntl;
use Test::More;

my $server = ChangefeedTest->new(changefeed => {heartbeat => 1});
my $tls_port = $server->listen_tls('first');
$server->begin;
$server->publish('users', 'id text PRIMARY KEY');
$server->sql(q{INSERT INTO users VALUES ('u1')});
$server->wait_for_feed;

sub curl { return (run_command('curl', '-sS', '--max-time', '20', @_))[1]; }
my @trust = ('--cacert', "$server->{dir}/cert.pem");

# ---- polls over every protocol
my %poll = (
	'HTTP/1.1 over TLS' => ['1.1', @trust, '--http1.1', "https://localhost:$tls_port"],
	'HTTP/2 over TLS' => ['2', @trust, '--http2', "https://localhost:$tls_port"],
	'h2c with prior knowledge' => ['2', '--http2-prior-knowledge', "http://127.0.0.1:$server->{http_port}"],
	'h2c by upgrade' => ['2', '--http2', "http://127.0.0.1:$server->{http_port}"],
);
for my $what (sort keys %poll)
{
	my ($version, @command) = @{$poll{$what}};
	my $url = pop @command;
	like(curl(@command, '-w', '\n%{http_version}', "$url/cdc/users/poll"), qr/"document_id":"u1".*\n\Q$version\E$/s, "$what: poll");
}
like(curl(@trust, '--tls-max', '1.1', "https://localhost:$tls_port/healthz"), qr/alert|unsupported|version|no protocols|SSL_ERROR_SYSCALL/i,
	'TLS 1.1 is refused');
like(curl(@trust, '--tls-max', '1.2', '-o', '/dev/null', '-w', '%{http_code}', "https://localhost:$tls_port/healthz"), qr/^200$/, 'TLS 1.2 is not');

# ---- streams: each protocol's client runs beside, its output in a file
$server->background('tls_h2', 'curl', '-sSN', @trust, '--http2', "https://localhost:$tls_port/cdc/users");
$server->background('tls_h1', 'curl', '-sSN', @trust, '--http1.1', "https://localhost:$tls_port/cdc/users");
$server->background('h2c', 'curl', '-sSN', '--http2-prior-knowledge', "http://127.0.0.1:$server->{http_port}/cdc/users");
my $nghttp = $server->background('nghttp', 'nghttp', '-n', '--no-dep', "http://127.0.0.1:$server->{http_port}/cdc/users/poll");
for my $name (qw(tls_h2 tls_h1 h2c))
{
	ok(wait_for(sub { $server->client_output($name) =~ /^retry: \d+\nid: \S+\n\n/ }, "$name: the first bytes"), "$name: the first bytes come at once");
}
$server->sql(q{INSERT INTO users VALUES ('u2')});
for my $name (qw(tls_h2 tls_h1 h2c))
{
	ok(wait_for(sub { $server->client_output($name) =~ /^event: insert\ndata: .*"document_id":"u2"/m }, "$name: a change"), "$name: a change arrives");
}
is($server->client_result($nghttp), 0, 'nghttp is content');

# ---- one h2 connection with 100 streams
my @urls = map { "http://127.0.0.1:$server->{http_port}/cdc/users/poll?since_lsn=now&wait=20&n=$_" } 1 .. 50;
my $many = $server->background('many', 'nghttp', '--no-dep', @urls);
ok(wait_for(sub { $server->metric('polls_waiting') == 50 }, '50 long polls wait'), '50 long polls over HTTP/2 wait');
$server->sql(q{INSERT INTO users VALUES ('u3')});
is($server->client_result($many), 0, 'all are answered');
my $answers = () = $server->client_output('many') =~ /"document_id":"u3"/g;
is($answers, 50, 'with the change');

# ---- the certificate is replaced; the old connection goes on
sub subject
{
	my $ask = "openssl s_client -connect 127.0.0.1:$tls_port -servername localhost </dev/null 2>/dev/null | openssl x509 -noout -subject";
	return (run_command('/bin/sh', '-c', $ask))[1];
}
like(subject(), qr/first/, 'the first certificate');
$server->make_certificate('second');
$server->reload;
ok(wait_for(sub { subject() =~ /second/ }, 'the second certificate'), 'a reload replaces the certificate');
$server->sql(q{INSERT INTO users VALUES ('u4')});
for my $name (qw(tls_h2 tls_h1 h2c))
{
	ok(wait_for(sub { $server->client_output($name) =~ /"document_id":"u4"/ }, "$name: a change"), "$name: the stream goes on");
}

# ---- a certificate that is broken is not taken
spew("$server->{dir}/cert.pem", "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n");
$server->reload;
ok(wait_for(sub { $server->status('config_message') =~ /cert\.pem/ }, 'config_message names the file'), 'a broken certificate is named');
like(subject(), qr/second/, 'and the one before stays in force');

# ---- a worker is told to take no new streams while it still reads its certificate, which here comes by a pipe
my $ssl = $server->{h2o}{listen}[-1]{ssl};
$server->make_certificate('third');
my $pem = slurp("$server->{dir}/cert.pem");
POSIX::mkfifo("$server->{dir}/pipe", 0600) or die "mkfifo: $!";
sub feed_pipe { my $pipe; return sysopen($pipe, "$server->{dir}/pipe", O_WRONLY | O_NONBLOCK) && syswrite($pipe, $pem); }
my $log_before = length($server->log);
$server->{h2o}{'num-threads'} = 1;
for my $certificate ("$server->{dir}/pipe", "$server->{dir}/cert.pem")
{
	$ssl->{'certificate-file'} = $certificate;
	$server->write_h2o_conf;
	$server->reload;
	wait_for(\&feed_pipe, 'the file is looked at') if $certificate =~ /pipe/;
	wait_for(sub { (() = substr($server->log, $log_before) =~ /took over/g) == ($certificate =~ /pipe/ ? 1 : 2) }, "$certificate is taken over");
}
ok(wait_for(\&feed_pipe, 'the worker reads'), 'a worker that has not begun is told to take no new streams: it goes on');
ok(wait_for(sub { subject() =~ /third/ }, 'the third certificate'), 'the next worker serves');
unlike(substr($server->log, $log_before), qr/killed by signal/, 'none dies of it');

done_testing();
