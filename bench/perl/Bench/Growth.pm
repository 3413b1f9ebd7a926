# Bench::Growth: how cost grows with what there is more of: subscribers, collections, history, bytes in a row, workers. Each
# curve is a list of points [x, y], medians of the repetitions; there are no goals, a curve should be flat or fall.
package Bench::Growth;

use strict;
use warnings;

use HTTP::Tiny;
use List::Util qw(min);
use Time::HiRes ();

use Bench;
use Bench::Report qw(curve);
use Bench::Rows;

our @order = qw(growth_subscribers growth_collections growth_rows growth_workers growth_history);
our %rows = (
	growth_subscribers => \&subscribers,
	growth_collections => \&collections,
	growth_rows => \&rows,
	growth_workers => \&workers,
	growth_history => \&history,
);

sub median_of { my ($measure) = @_; return median(map { $measure->() } 1 .. min(3, $Bench::Rows::repetitions)); }

# Beside it what plain writes cost: how much of a rise is the kernel's.
sub subscribers
{
	my (@points, @plain);
	for my $streams (1, 10, 100, 1000, 10_000)
	{
		my $rate = $streams > 1000 ? 10 : 100;
		my $frame;
		push @points,
		  [
			$streams,
			median_of(
				sub
				{
					my $seen = Bench::Rows::observe_changefeed(2, $rate, 1, $streams, parse => 1);
					$frame = Bench::Rows::frame_size($seen);
					return $seen->{cpu_us_per_event};
				})
		  ];
		push @plain, [$streams, median_of(sub { Bench::Rows::observe_plain(2, $streams, 1, '--rate', $rate, '--frame', $frame)->{cpu_us_per_event} })];
	}
	curve('CPU for each delivered event', 'streams', 'us', @points);
	curve('the same, a plain write for each', 'streams', 'us', @plain);
	return;
}

# A thousand streams, spread over the collections, and a hundred changes a second in all: with more collections each change goes to
# fewer streams, and what it costs by itself weighs more.
sub collections
{
	my $tables = 1000;
	sql(join('', map { "CREATE TABLE IF NOT EXISTS bench_$_ (seq bigint PRIMARY KEY, sent_us bigint, pad text);" } 10 .. $tables - 1)
		  . 'ALTER PUBLICATION changefeed ADD TABLE ' . join(', ', map { "bench_$_" } 10 .. $tables - 1));
	my @points;
	for my $collections (1, 10, 100, 1000)
	{
		push @points, [$collections, median_of(sub { spread($collections, 1000) })];
	}
	curve('CPU for each change, spread over collections', 'collections', 'us', @points);
	return;
}

# Microseconds of the worker's CPU for each change.
sub spread
{
	my ($collections, $streams) = @_;
	my $changefeed = changefeed();
	my $client = load_client($changefeed, connections => $streams, parse => 1, path => '/cdc/bench_', spread => $collections);
	my $pid = $changefeed->{workers}[0];
	my $writer = Bench::Rows::start_writer(rate => 100, tables => $collections);
	my ($changes, $cpu) = (metrics($changefeed)->{changes_total}, pids_cpu($pid));
	Time::HiRes::sleep(2);
	$cpu = pids_cpu($pid) - $cpu;
	$changes = metrics($changefeed)->{changes_total} - $changes;
	Bench::Rows::stop_writer($writer);
	stop($client);
	stop($changefeed);
	return $cpu / $changes;
}

sub rows
{
	my @points;
	for my $bytes (50, 1000, 10_000, 100_000, 1_000_000)
	{
		my $rate = $bytes > 100_000 ? 10 : 50;
		push @points,
		  [
			$bytes,
			median_of(
				sub
				{
					my $seen = Bench::Rows::observe_changefeed(2, $rate, 1, 10, parse => 1, payload => $bytes);
					return $seen->{cpu_us_per_event} / ($seen->{bytes_per_event} / 1000);
				})
		  ];
	}
	curve('CPU for each kB delivered to 10 streams', 'bytes in a row', 'us', @points);
	return;
}

sub workers
{
	my @points = map { my $threads = $_; [$threads, median_of(sub { Bench::Rows::observe_changefeed(2, 100, 1, 1000, parse => 1, threads => $threads)->{cpu_us_per_event} })] } 1, 2;
	curve('CPU for each event to 1,000 streams, all workers', 'workers', 'us', @points);
	return;
}

# Polls with cursors all over the history, in transactions of a hundred changes.
sub history
{
	my $changefeed = changefeed(ring_size => '4GB', ring => 'growth_ring', slot => 'growth');
	my ($http, $written, @points) = (HTTP::Tiny->new(keep_alive => 1), 0);
	my $url = "http://127.0.0.1:$changefeed->{port}/cdc/history/poll";
	sql(q{CREATE TABLE history (n bigint); ALTER PUBLICATION changefeed ADD TABLE history;
		CREATE PROCEDURE write_history(count bigint) LANGUAGE plpgsql AS $$ BEGIN
			FOR i IN 1 .. count / 100 LOOP INSERT INTO history SELECT generate_series(1, 100); COMMIT; END LOOP; END $$});
	for my $records (1000, 10_000, 100_000, 1_000_000, 10_000_000)
	{
		my $before = metrics($changefeed)->{changes_total};
		sql_file("SET synchronous_commit = off;\nCALL write_history($records - $written);\n");
		wait_until(sub { metrics($changefeed)->{changes_total} >= $before + $records - $written }, 'the changes are in the ring', 600);
		$written = $records;
		my ($first, $last) = map { (split /-/, $_)[0] } ($http->get("$url?limit=1")->{content} =~ /"id":"([\d-]+)"/)[0], metrics($changefeed)->{streamed_lsn};
		push @points, [$records, median_of(sub { resume_us($changefeed->{workers}[0], $http, $url, $first, $last) })];
	}
	stop($changefeed);
	drop_slots('growth');
	unlink "$dir/growth_ring";
	curve('CPU for a poll that resumes', 'changes in the ring', 'us', @points);
	return;
}

# Microseconds of the worker's CPU for each of a thousand polls that begin somewhere between two LSNs.
sub resume_us
{
	my ($worker, $http, $url, $first, $last) = @_;
	my $polls = 1000;
	my $cpu = pids_cpu($worker);
	for (1 .. $polls)
	{
		my $lsn = int($first + rand($last - $first));
		$http->get("$url?limit=1&since_lsn=$lsn")->{success} or die "bench: cannot resume at $lsn\n";
	}
	return (pids_cpu($worker) - $cpu) / $polls;
}

1;
