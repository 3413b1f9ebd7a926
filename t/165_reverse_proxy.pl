# Behind nginx, with the configuration that README.md prints: streams and polls pass it, tenants are its to choose, and a
# browser is not told anything that would end its EventSource for good. Where there is no nginx this is skipped.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../test/perl";
use ChangefeedTest;
use ChangefeedTest::Browser;
use Test::More;

my ($nginx) = grep { -x } map { "$_/nginx" } split(/:/, $ENV{PATH}), '/usr/sbin', '/usr/local/sbin';
plan(skip_all => 'there is no nginx here') unless $nginx;
my @blocks = slurp("$ChangefeedTest::root/README.md") =~ /^```nginx\n(.*?)^```/msg;
is(scalar @blocks, 3, 'README.md has three pieces of a configuration: for all, for tenants, for Prometheus') or BAIL_OUT('README.md has another form');
my ($for_all, $for_tenants, $for_prometheus) = @blocks;
my ($map) = $for_tenants =~ /^(map .*\n)/m;
my ($last_lines, $away) = $for_all =~ /((?:^    [^\n]*\n){3})\}\n(location \@away \{.*?^\})/ms;
$for_tenants =~ s/^map .*\n//m;
$for_tenants =~ s/^    # and the last three lines from above\n/$last_lines/m;
$for_prometheus =~ s{10\.0\.0\.0/8}{127.0.0.1};

my $server = ChangefeedTest->new(changefeed => {heartbeat => 1, 'tenant-column' => 'tenant'});
$server->{h2o}{hosts}{default}{paths}{'/page'} = {'file.dir' => "$ChangefeedTest::root/test/browser"};
my %port = map { $_ => free_port() } qw(all tenants http2 auth);
my @temporary = map { "${_}_temp_path $server->{dir}/nginx_$_;" } qw(client_body proxy fastcgi uwsgi scgi);
my $configuration = <<"CONF" =~ s/\b7080\b/$server->{http_port}/gr;
daemon off;
pid $server->{dir}/nginx.pid;
error_log $server->{dir}/nginx.log;
events { worker_connections 256; }
http {
access_log off;
@temporary
$map
server { listen 127.0.0.1:$port{all}; $for_all $for_prometheus location /page { proxy_pass http://127.0.0.1:7080; } }
server { listen 127.0.0.1:$port{http2} http2; $for_all }
server { listen 127.0.0.1:$port{tenants}; $for_tenants $away location = /auth { internal; proxy_pass http://127.0.0.1:$port{auth}; } }
# The application: a name is a tenant.
server { listen 127.0.0.1:$port{auth}; location / { if (\$http_authorization = "") { return 401; } add_header X-Tenant \$http_authorization; return 204; } }
}
CONF
my $pid = fork // die "fork: $!";
if ($pid == 0)
{
	my @command = ($nginx, '-p', $server->{dir}, '-c', spew("$server->{dir}/nginx.conf", $configuration), '-e', "$server->{dir}/nginx.log");
	exec { $command[0] } @command or POSIX::_exit(127);
}
END { kill('TERM', $pid) if $pid; }    # its workers end with it

# The status of curl and what it printed.
sub ask
{
	my ($port, $path, @options) = @_;
	return [run_command('curl', '-sg', '--max-time', 20, @options, "http://127.0.0.1:$port{$port}$path")];
}
sub answer { my ($status, $text) = @{ask(@_, '-w', '\n%{http_code}')}; return $text; }

# ---- before the feed was ever connected, a stream is answered with 503, which no EventSource comes back after
$server->write_h2o_conf;
$server->pg_start;
ok(wait_for(sub { $server->get('/cdc/users')->{status} == 503 }, '503'), 'there is no publication yet: 503') or diag(slurp("$server->{dir}/nginx.log"));
is(ask('all', '/cdc/users')->[0], 52, 'nginx gives no answer, and EventSource tries again');
is(ask('http2', '/cdc/users', '--http2-prior-knowledge')->[0], 92, 'nor over HTTP/2');

$server->sql('CREATE EXTENSION pg_changefeed');
$server->wait_ready;
$server->publish('users', 'id text PRIMARY KEY, name text');
$server->sql(q{CREATE TABLE "dot.ted" (id text PRIMARY KEY); ALTER PUBLICATION changefeed ADD TABLE "dot.ted"});

# ---- what passes it
my $stream = $server->stream('/cdc/users', port => $port{all});
is($stream->{status}, 200, 'a stream through nginx');
like($stream->block->{id} // '', qr/^\d+/, 'its first bytes come at once');
$server->sql(q{INSERT INTO users VALUES ('u1', 'Ann'); INSERT INTO "dot.ted" VALUES ('d1')});
is($stream->event(5)->{json}{document_id}, 'u1', 'and so does each event');
like(answer('all', '/cdc/dot%2Eted/poll'), qr/"document_id":"d1".*\n200$/s, 'a dot that belongs to a name stays one');
like(answer('all', '/cdc/nothing'), qr/ALTER PUBLICATION.*\n404$/s, 'a 404 passes, with what it says');
like(answer('http2', '/cdc/users/poll', '--http2-prior-knowledge'), qr/"document_id":"u1".*\n200$/s, 'a poll over HTTP/2');
like(answer('all', '/metrics'), qr/pg_changefeed_feed_up 1/, 'Prometheus reaches /metrics');
like(answer('all', '/readyz'), qr/\n200$/, 'and /readyz');
like(answer('all', '/healthz'), qr/\n404$/, 'what is not named does not pass');

# ---- tenants
$server->publish('orders', 'id text PRIMARY KEY, tenant text');
$server->sql(q{ALTER TABLE orders REPLICA IDENTITY FULL; INSERT INTO orders VALUES ('one', '1'), ('seven', '7'), ('eight', '8')});
$server->wait_for_feed;
my @seven = ('-H', 'Authorization: 7');
sub documents { my ($text) = @_; return join(' ', $text =~ /"document_id":"(\w+)"/g) . ' ' . ($text =~ /\n(\d+)$/)[0]; }
is(documents(answer('tenants', '/cdc/orders/poll', @seven)), 'seven 200', 'a client gets the changes of its tenant');
is(documents(answer('tenants', '/cdc/orders/poll?limit=10', @seven)), 'seven 200', 'with parameters, too');
is(documents(answer('tenants', '/cdc/dot%2Eted/poll', @seven)), ' 200', 'and names stay as they were sent');
is(documents(answer('tenants', '/cdc/orders/poll')), ' 401', 'a client that the application refuses gets its answer');
is(documents(answer('tenants', "/cdc/orders/poll?$_", @seven)), ' 400', "?$_: a tenant of the client's own is refused")
  for 'tenant_id=8', 'tenant_id=7', 'tenant%5Fid=8', '%74enant_id=8', 'limit=1&tenant_id=8', '&&tenant_id=8&';
unlike(answer('tenants', '/cdc/orders/poll', @seven, '--request-target', $_), qr/"(one|eight)"/, "$_: nobody else's changes")
  for '/cdc/orders/poll#', '/cdc/orders/poll#?', '/cdc/orders/poll?#', '/cdc/orders/poll?a#b',
	'/cdc/orders/poll%3F', '/cdc/orders/poll%3Ftenant_id=8%26', '/cdc/orders/poll?x=%23', '/cdc/../cdc/orders/poll', '//cdc/orders/poll',
  'http://elsewhere/cdc/orders/poll', '/cdc/orders/poll?;tenant_id=8', '/cdc/orders/poll?tenant_id%3D8';

# ---- PostgreSQL stops
is($server->pg_stop, 0, 'PostgreSQL stops');
ok($stream->wait_for_end, 'the stream ends');
is(ask('all', '/cdc/users')->[0], 52, 'nginx gives no answer until PostgreSQL is there again');
$server->pg_start;
$server->wait_ready;
$stream = $server->stream('/cdc/users', port => $port{all}, headers => {'Last-Event-ID' => $stream->{last_id}});
$server->sql(q{INSERT INTO users VALUES ('u2', 'Bob')});
is($stream->event->{json}{document_id}, 'u2', 'and a stream goes on with its last id');

# ---- a browser, which is there all the time
SKIP:
{
	skip('no chromium and chromedriver here', 2) unless ChangefeedTest::Browser::there();
	my $browser = ChangefeedTest::Browser->start($server->{dir});
	my $seen = sub { return $browser->script('return seen'); };
	$browser->open("http://127.0.0.1:$port{all}/page/follow.html#users");
	wait_for(sub { $seen->()->{opens} == 1 }, 'EventSource is open');
	$server->pg_stop;
	wait_for(sub { $seen->()->{errors} >= 3 }, 'EventSource has tried again, in vain');
	is($browser->script('return source.readyState'), 0, 'EventSource goes on trying while PostgreSQL is away');
	$server->pg_start;
	$server->sql(q{INSERT INTO users VALUES ('u3', 'Cid')});
	ok(wait_for(sub { ($seen->()->{documents}[-1] // '') eq 'u3' }, 'EventSource is back'), 'and is back with it');
	$browser->quit;
}

done_testing();
