# Bench::Steady: 2,000 streams of 2,000 changes a second, for a long time: what grows? Each minute has a line: events a second, latency,
# memory and descriptors of worker and feed, and what was missing. At the end the last quarter is compared with the second one,
# because the first fills what is kept.
package Bench::Steady;

use strict;
use warnings;

use Bench;
use Bench::Report qw(compare);
use Bench::Rows;

our @order = qw(steady);
our %rows = (steady => \&steady);
our $minutes = 60;

my $STREAMS = 2000;
my $PARSED = 20;    # of them; with all of them the client would need more than a core
my ($TRANSACTIONS, $ROWS) = (100, 20);

sub descriptors { my ($pid) = @_; my @descriptors = glob("/proc/$pid/fd/*"); return scalar @descriptors; }

sub minute
{
	my ($client, $changefeed, $from) = @_;
	sleep(60);
	my $to = mark($client);
	my $seen = rates($client, $from, $to);
	my $worker = $changefeed->{workers}[0];
	my %minute = (
		streams => $to->{answered} - $to->{closed},
		rate => $seen->{per_second} / 1e6,
		p50 => $seen->{latency}{p50} / 1000,
		p99 => $seen->{latency}{p99} / 1000,
		memory => anonymous_kb($worker) / 1024,
		feed => anonymous_kb($changefeed->{feed}) / 1024,
		descriptors => descriptors($worker) + descriptors($changefeed->{feed}),
		wrong => $seen->{gaps} + $seen->{duplicates} + $seen->{warnings} + $seen->{closed},
	);
	return ($to, \%minute);
}

sub steady
{
	my $changefeed = changefeed();
	my $client = load_client($changefeed, connections => $STREAMS, parse => $PARSED, path => '/cdc/bench_0');
	my $writer = Bench::Rows::start_writer(rate => $TRANSACTIONS, rows => $ROWS);
	my ($mark, @minutes) = (mark($client));
	for my $number (1 .. $minutes)
	{
		($mark, my $minute) = minute($client, $changefeed, $mark);
		push @minutes, $minute;
		say_line(sprintf('%4d min  %.2f M events/s to %d streams, p50 %.1f ms, p99 %.1f ms, worker %.1f MB, feed %.1f MB, %d descriptors, %d gaps, doubled or ended',
			$number, @$minute{qw(rate streams p50 p99 memory feed descriptors wrong)}));
	}
	Bench::Rows::stop_writer($writer, $ROWS);
	stop($client);
	stop($changefeed);
	report(@minutes);
	return;
}

sub report
{
	my @minutes = @_;
	my $quarter = int(@minutes / 4) || 1;
	my @late = @minutes[-$quarter .. -1];
	my @early = @minutes > 2 * $quarter ? @minutes[$quarter .. 2 * $quarter - 1] : @minutes[0 .. $quarter - 1];
	my $wrong = 0;
	$wrong += $_->{wrong} for @minutes;
	my %quantities = (memory => 'MB', feed => 'MB', descriptors => 'open', p50 => 'ms', p99 => 'ms');
	my $name = sprintf('%d streams, %d changes/s, %d minutes', $STREAMS, $TRANSACTIONS * $ROWS, scalar @minutes);
	for my $quantity (sort keys %quantities)
	{
		compare("$name: $quantity", 'last quarter', 'second quarter', '<= 1.1', $quantities{$quantity}, [map { $_->{$quantity} } @late], [map { $_->{$quantity} } @early]);
	}
	compare("$name: gaps, doubled or ended", 'count', 'none', '<= 0', '', [$wrong], [1]);
	return;
}

1;
