# ChangefeedTest::Browser: Chromium, driven through chromedriver (https://www.w3.org/TR/webdriver2/).
#
#   my $browser = ChangefeedTest::Browser->start($server->{dir});
#   $browser->open($server->url('/'));
#   is($browser->script('return document.title'), 'pg_changefeed', 'the page');
#   $browser->quit;
#
# It works in a directory of the test's, and is gone when the test ends, however it ends.
package ChangefeedTest::Browser;

use strict;
use warnings;
use ChangefeedTest;
use HTTP::Tiny;
use JSON::PP;
use POSIX ();
use Test::More;

my @browsers;

sub program
{
	my ($name) = @_;
	return (grep { -x } map { "$_/$name" } split(/:/, $ENV{PATH}), '/usr/lib/chromium')[0];
}

# Whether the two programs are: Ubuntu has Chromium as a snap only, which does not run in containers.
sub there { return program('chromium') && program('chromedriver'); }

# Skips the whole test where they are not.
sub needed
{
	plan skip_all => 'no chromium and chromedriver here' unless there();
	return;
}

sub start
{
	my ($class, $dir) = @_;
	my $self = bless {port => free_port(), http => HTTP::Tiny->new(timeout => 60), owner => $$}, $class;
	$ENV{HOME} = "$dir/home";
	mkdir $ENV{HOME};
	$self->{pid} = fork // die "fork: $!";
	if ($self->{pid} == 0)
	{
		setpgrp;
		open(STDOUT, '>', "$dir/chromedriver.log");
		open(STDERR, '>&', \*STDOUT);
		exec { program('chromedriver') } 'chromedriver', "--port=$self->{port}" or POSIX::_exit(127);
	}
	push @browsers, $self;
	wait_for(sub { eval { $self->command(GET => '/status')->{ready} } }, 'chromedriver is ready') or BAIL_OUT('chromedriver does not start');
	my $options = {
		binary => program('chromium'),
		args => [qw(--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
			--disable-component-update --disable-sync --disable-dev-shm-usage --disable-crash-reporter), "--user-data-dir=$dir/profile"],
	};
	my $answer = $self->command(POST => '/session',
		{capabilities => {alwaysMatch => {acceptInsecureCerts => JSON::PP::true, 'goog:chromeOptions' => $options}}});
	$self->{session} = "/session/$answer->{sessionId}";
	return $self;
}

# One command of WebDriver's; dies on an error, returns its value.
sub command
{
	my ($self, $method, $path, $body) = @_;
	my $response = $self->{http}->request($method, "http://127.0.0.1:$self->{port}$path",
		{headers => {'Content-Type' => 'application/json'}, $body ? (content => encode_json($body)) : ()});
	my $answer = eval { decode_json($response->{content}) } // {};
	$response->{success} or die "$method $path: $response->{status} " . ($answer->{value}{message} // $response->{content});
	return $answer->{value};
}

sub open
{
	my ($self, $url) = @_;
	$self->command(POST => "$self->{session}/url", {url => $url});
	return;
}

# What the body of a function returns, run in the page.
sub script
{
	my ($self, $script, @arguments) = @_;
	return $self->command(POST => "$self->{session}/execute/sync", {script => $script, args => \@arguments});
}

# A command of Chromium's own protocol (https://chromedevtools.github.io/devtools-protocol/).
sub devtools
{
	my ($self, $command, %parameter) = @_;
	return $self->command(POST => "$self->{session}/goog/cdp/execute", {cmd => $command, params => \%parameter});
}

# The errors that pages of this origin have written to the browser's console since this was last asked.
sub errors
{
	my ($self, $origin) = @_;
	my $entries = eval { $self->command(POST => "$self->{session}/se/log", {type => 'browser'}) } // [];
	return map { $_->{message} } grep { $_->{level} eq 'SEVERE' && index($_->{message}, $origin) >= 0 } @$entries;
}

# Pids of the browser, all but chromedriver itself.
sub processes
{
	my ($self) = @_;
	my %parent = ChangefeedTest::process_parents();
	my @found;
	my @left = ($self->{pid});
	while (defined(my $pid = shift @left))
	{
		push @left, grep { $parent{$_} == $pid } keys %parent;
		push @found, $pid;
	}
	shift @found;
	return @found;
}

sub quit
{
	my ($self) = @_;
	$self->command(DELETE => $self->{session});
	return;
}

END
{
	my $ended_with = $?;
	kill('KILL', -$_->{pid}) for grep { $_->{owner} == $$ } @browsers;
	$? = $ended_with;
}

1;
