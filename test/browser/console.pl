# The console page in a browser: what it shows, that it shows it as text, and what it says when all is not well.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../perl";
use ChangefeedTest;
use ChangefeedTest::Browser;
use HTTP::Tiny;
use JSON::PP;
use Test::More;

ChangefeedTest::Browser::needed();
my $server = ChangefeedTest->start(changefeed => {heartbeat => 1, retry => 100});
$server->publish('users', 'id text PRIMARY KEY, name text');
$server->publish($_, 'id text PRIMARY KEY') for qw(accounts deliveries invoices a_table_with_a_long_name_as_they_are_in_large_databases);
my $browser = ChangefeedTest::Browser->start($server->{dir});

sub text_of { return $browser->script('return document.querySelector(arguments[0]).innerText', $_[0]); }

# What the rows show in one column, the newest first.
sub column
{
	my ($number) = @_;
	return $browser->script('return [...document.querySelectorAll("#changes tr:not(.notice)")].map((row) => row.cells[arguments[0]].innerText)', $number);
}
sub documents { return column(3); }


$browser->open($server->url('/#%'));
ok(wait_for(sub { $browser->script('return document.body.innerText') =~ /users/ }, 'the console lists the collection'), 'the console lists the collection');
wait_for(sub { $browser->script('return document.body.dataset.state') eq 'live' }, 'the console is connected, whatever the address has behind #');
is($browser->script('location.hash = "//elsewhere.example/cdc/users"; return path_in_address()'), '', 'and no other server is asked');
my $markup = q{<script>document.title = 'run'</script><img src=x onerror="document.title = 'run'">};
$server->sql(qq{CREATE TABLE "<b>bold" (id text PRIMARY KEY, "<i>" text); ALTER PUBLICATION changefeed ADD TABLE "<b>bold"});
$server->sql(q{INSERT INTO users VALUES ('shown', $$} . $markup . q{$$); INSERT INTO "<b>bold" VALUES ($$<u>$$, $$} . $markup . q{$$)});
ok(wait_for(sub { $browser->script('return document.body.innerText') =~ /shown/ }, 'the console shows a change'), 'the console shows a change');
ok(wait_for(sub { index($browser->script('return document.querySelector("main").innerText'), $markup) >= 0 }, 'as text'), 'and its values as text');
$browser->script('for (const details of document.querySelectorAll("details")) details.open = true');
ok(wait_for(sub { $browser->script('return document.querySelector("nav").innerText') =~ /<b>bold/ }, 'names as text'), 'and names');
is($browser->script('return document.querySelectorAll("main script, main img, b, i, u").length'), 0, 'never as markup');
is($browser->script('return document.title'), 'pg_changefeed', 'and nothing of it runs');
ok(wait_for(sub { $browser->script('return document.querySelector("#ring").innerText') =~ /of 16\.\d MB/ }, 'the ring'),
	'the console shows how full the ring is');
like($browser->script('return document.querySelector("#lag").innerText'), qr/^[\d.]+ \w+$/, 'and the lag');
$browser->script('document.querySelectorAll("nav button")[1].click()');
is($browser->script('return document.querySelector("main").innerText') =~ /shown/ ? 1 : 0, 0, 'choosing a collection begins anew');
$server->sql(q{INSERT INTO users VALUES ('chosen')});
ok(wait_for(sub { $browser->script('return document.body.innerText') =~ /chosen/ }, 'its changes'), 'with its changes');

# Looked at each second: the keyboard's focus stays, and a button is the same one while it is held.
$browser->script('document.querySelectorAll("nav button")[1].focus()');
$server->sql(q{INSERT INTO users VALUES ('counted')});
ok(wait_for(sub { $browser->script('return document.querySelectorAll("nav button")[1].innerText') =~ /3$/ }, 'the count'), 'the counts go on');
like($browser->script('return document.activeElement.innerText'), qr/^users/, 'and the focus stays where it is');

# In a narrow window the collections are one line, which scrolls by itself.
$browser->devtools('Emulation.setDeviceMetricsOverride', width => 360, height => 740, deviceScaleFactor => 1, mobile => JSON::PP::false);
my $heights = $browser->script('return [...document.querySelectorAll("nav, nav button")].map((one) => one.clientHeight)');
is_deeply([grep { $_ > 60 } @$heights], [], "narrow: the list of collections is a line (@$heights)");
cmp_ok($browser->script('return document.documentElement.scrollWidth'), '<=', 360, 'narrow: the page is not wider than the window');
$browser->devtools('Emulation.clearDeviceMetricsOverride');

# A pause puts off, and throws nothing away.
$browser->script('document.querySelector("#clear").click(); document.querySelector("#pause").click()');
$server->sql(q{INSERT INTO users VALUES ('p1'), ('p2')});
ok(wait_for(sub { $browser->script('return waiting.length') == 2 }, 'two wait'), 'a pause: what comes waits');
is_deeply(documents(), [], 'and is not shown');
$browser->script('document.querySelector("#pause").click()');
$server->sql(q{INSERT INTO users VALUES ('p3')});
wait_for(sub { (documents()->[0] // '') eq 'p3' }, 'it goes on');
is_deeply(documents(), [qw(p3 p2 p1)], 'afterwards it is all there');

# Rows that are hard to show.
$browser->script('document.querySelector("#clear").click()');
$server->sql(q{INSERT INTO users VALUES ('n1', NULL), ('n2', 'null'), (repeat('k', 700), ''); TRUNCATE users});
wait_for(sub { @{documents()} == 4 }, 'four rows');
my ($truncated, undef, $text, $null) = @{column(4)};
ok($text =~ /^id=n2\s+name=null$/ && $null =~ /^id=n1\s+name is null$/, 'a null is not the text null');
isnt($truncated, '', 'a TRUNCATE has something to open');
cmp_ok($browser->script('return document.querySelector("main").scrollWidth'), '<', 1000, 'a long key does not widen the page');

# A gap: the browser stands still while the ring passes it. Its warning is pushed out of the rows, and stays above them.
my @asleep = $browser->processes;
kill('STOP', @asleep) == @asleep or die "kill: $!";
$server->sql(q{INSERT INTO users SELECT 'g' || i, repeat('x', 1000) FROM generate_series(1, 40000) i; INSERT INTO users VALUES ('last')});
$server->wait_for_feed;
kill('CONT', @asleep);
ok(wait_for(sub { (documents()->[0] // '') eq 'last' }, 'the last change'), 'a gap: the last change is shown');
like($browser->script('return document.querySelector("#notice").innerText'), qr/warning: lagged \d+ events/, 'and the gap is still said');

# A page that is not seen gives its connection back, and goes on where it was.
sub streams { return $server->sql('SELECT streams FROM changefeed.status()'); }
my $see = 'Object.defineProperty(document, "hidden", { value: arguments[0], configurable: true }); document.dispatchEvent(new Event("visibilitychange"))';
$browser->script($see, JSON::PP::true);
ok(wait_for(sub { streams() == 0 }, 'no stream'), 'a page that is not seen holds no connection');
$server->sql(q{INSERT INTO users VALUES ('h1'), ('h2')});
$server->wait_for_feed;
$browser->script($see, JSON::PP::false);
wait_for(sub { (documents()->[0] // '') eq 'h2' }, 'it goes on');
is_deeply([@{documents()}[0 .. 2]], [qw(h2 h1 last)], 'and goes on where it was');

# One that was not seen for long begins with what is new, and says so.
$browser->script($see, JSON::PP::true);
$server->sql(q{INSERT INTO users VALUES ('h3')});
$server->wait_for_feed;
$browser->script('hidden_since -= 60000');
$browser->script($see, JSON::PP::false);
ok(wait_for(sub { text_of('#state') eq 'live' }, 'live again'), 'not seen for long: live again');
$server->sql(q{INSERT INTO users VALUES ('h4')});
wait_for(sub { (documents()->[0] // '') eq 'h4' }, 'what is new');
is(scalar(grep { $_ eq 'h3' } @{documents()}), 0, 'what came meanwhile is not shown');
like(text_of('#notice'), qr/nothing is shown of what came since/, 'and the page says so');

# An address written by hand: a list of collections, which has a button of its own.
$browser->script('location.hash = "#/cdc/users,accounts"');
wait_for(sub { text_of('#state') eq 'live' && text_of('nav') =~ /users,accounts/ }, 'the list of the address');
$server->sql(q{INSERT INTO deliveries VALUES ('d1'); INSERT INTO accounts VALUES ('a1'); INSERT INTO users VALUES ('a2')});
wait_for(sub { (documents()->[0] // '') eq 'a2' }, 'its changes');
is_deeply(documents(), [qw(a2 a1)], 'a path written by hand is followed');
like(text_of('nav [aria-current=true]'), qr/^users,accounts\s*$/, 'and stays');
$browser->script('location.hash = "#/cdc/nothing"');
ok(wait_for(sub { text_of('#state') =~ /^refused, trying again: .*ALTER PUBLICATION/ }, 'refused'),
	'one that is not published is refused, and the page says why');
$browser->script('location.hash = "#/cdc/*"');
ok(wait_for(sub { text_of('#state') eq 'live' }, 'live again'), 'another one is followed again');

# A day that is over is named.
my ($today, $yesterday) = map { $browser->script("return time_text(Date.now() - $_ * 86400000)") } 0, 1;
cmp_ok(length($yesterday), '>', length($today), "a time has its date unless it is today's ($yesterday, $today)");

# What stands in front answers in its own words.
$browser->script('real_fetch = fetch;
	answer_of = () => new Response("busy", { status: 503, statusText: "Service Unavailable" }); fetch = async () => answer_of()');
ok(wait_for(sub { text_of('#message') =~ /answered with 503 Service Unavailable\./ }, 'the status'), 'an error: the page says which');
$browser->script('answer_of = () => new Response("<p>log in</p>")');
ok(wait_for(sub { text_of('#message') =~ /something else/ }, 'something else'), 'a page in its place is not taken for an overview');
$browser->script('fetch = real_fetch');

# A server that takes connections and answers nothing.
my $workers = $server->processes->{workers};
kill('STOP', @$workers) == @$workers or die "kill: $!";
ok(wait_for(sub { text_of('#feed') eq 'unknown' }, 'the feed is unknown'), 'no answer: nothing is known of the feed');
isnt(text_of('#state'), 'live', 'and the page is not live');
kill('CONT', @$workers);
ok(wait_for(sub { text_of('#state') eq 'live' }, 'live again'), 'an answer: live again');

# A feed that waits is not live, and the page says for what; the new history afterwards is a reset.
SKIP:
{
	skip('PostgreSQL 18 passes over what is written without a publication', 4) if $server->sql('SHOW server_version_num') >= 180000;
	$server->sql(q{DROP PUBLICATION changefeed; INSERT INTO users VALUES ('unseen')});
	ok(wait_for(sub { text_of('#message') =~ /publication "changefeed" does not exist/ }, 'the message'), 'a feed that waits: the page says for what');
	like(text_of('#state'), qr/^connected; the feed is (retrying|connecting|preparing)$/, 'and is not live');
	$server->sql('CREATE PUBLICATION changefeed FOR TABLE users');
	ok(wait_for(sub { text_of('#state') eq 'live' }, 'live again'), 'live again');
	ok(wait_for(sub { text_of('#changes') =~ /^\S.*\breset\b/m }, 'the reset'), 'and the new history is said');
}

# Another host: changes are elsewhere, and each tenant has its own.
my $host = "localhost:$server->{http_port}";
$server->{h2o}{hosts}{$host}{paths} = {'/a&b/feed' => {changefeed => {'tenant-column' => 'tenant_id'}}};
$server->write_h2o_conf;
$server->reload;
$server->publish('orders', 'id text PRIMARY KEY, tenant_id int');
wait_for(sub { HTTP::Tiny->new->get("http://$host/")->{content} =~ /<html data-mount="\/a&amp;b\/feed" data-tenants/ }, 'the new file is served');
$browser->open("http://$host/?tenant_id=7");
ok(wait_for(sub { text_of('#state') eq 'live' }, 'live'), 'another path: live');
$server->sql(q{INSERT INTO orders VALUES ('ours', 7), ('theirs', 8), ('also', 7)});
wait_for(sub { @{documents()} == 2 }, 'two rows');
is_deeply(documents(), [qw(also ours)], 'the changes of the tenant of the address');
like(text_of('#tenants'), qr/7/, 'which is shown');
ok(!$browser->script('return document.querySelector("#tenants").hidden'), 'where there are tenants');

# To the browser a refusal is an error.
is_deeply([grep { !m{/cdc/nothing\b} } $browser->errors($server->url('/'))], [], 'without errors of its own');

$browser->quit;
done_testing();
