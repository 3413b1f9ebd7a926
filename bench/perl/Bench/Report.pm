# Bench::Report: the table of results and its picture. Rows are printed as they come, with every value that was measured, and
# again as one table at the end.
package Bench::Report;

use strict;
use warnings;

use Exporter qw(import);

use Bench qw(median say_line);

our @EXPORT_OK = qw(compare limit note_line print_table write_svg);

my @results;

sub format_values { return join(' ', map { format_number($_) } @_); }

sub format_number
{
	my ($number) = @_;
	return sprintf('%.0f', $number) if abs($number) >= 1000;
	return sprintf('%.1f', $number) if abs($number) >= 100;
	return sprintf('%.2f', $number) if abs($number) >= 10;
	return sprintf('%.3f', $number);
}

# One row: a ratio of medians, `above` to `below`, and the goal for it, ">= 10" or "<= 1.15".
sub compare
{
	my ($name, $quantity, $against, $goal, $unit, $above, $below) = @_;
	my $ratio = median(@$below) > 0 ? median(@$above) / median(@$below) : 0;
	my ($relation, $bound) = split ' ', $goal;
	my $met = $relation eq '>=' ? $ratio >= $bound : $ratio <= $bound;
	push @results, {name => $name, quantity => $quantity, against => $against, ratio => $ratio, text => format_number($ratio), goal => $goal, met => $met, relation => $relation, bound => $bound};
	print_result($results[-1]);
	say_line(sprintf('      measured (%s): %s / %s', $unit, format_values(@$above), format_values(@$below)));
	return;
}

# One row: how much a median may exceed another.
sub limit
{
	my ($name, $against, $allowed, $unit, $values, $base) = @_;
	my $excess = median(@$values) - median(@$base);
	push @results, {name => $name, quantity => 'excess', against => $against, text => sprintf('%+.3f %s', $excess, $unit), goal => "<= +$allowed $unit", met => $excess <= $allowed};
	print_result($results[-1]);
	say_line(sprintf('      measured (%s): %s / %s', $unit, format_values(@$values), format_values(@$base)));
	return;
}

sub note_line { say_line('      ', @_); return; }

sub print_result
{
	my ($result) = @_;
	say_line(sprintf('%-4s %-58s %-22s / %-26s %10s  goal %s', $result->{met} ? 'ok' : 'MISS', @$result{qw(name quantity against text goal)}));
	return;
}

sub print_table
{
	say_line('');
	print_result($_) for @results;
	my $missed = grep { !$_->{met} } @results;
	say_line(sprintf("\n%d rows, %d miss their goal", scalar @results, $missed));
	return;
}

sub escape { my ($text) = @_; $text =~ s/&/&amp;/g; $text =~ s/</&lt;/g; $text =~ s/>/&gt;/g; return $text; }

# A bar for each ratio on a logarithmic scale, 1 is the goal: to the right is better.
sub write_svg
{
	my ($file) = @_;
	my @bars = grep { defined $_->{ratio} && $_->{ratio} > 0 } @results;
	my ($row, $left, $width) = (22, 520, 360);
	my $height = $row * @bars + 50;
	my $svg = qq{<svg xmlns="http://www.w3.org/2000/svg" width="980" height="$height" font-family="sans-serif" font-size="12">\n};
	my $goal_x = $left + $width / 2;
	for my $i (0 .. $#bars)
	{
		my $bar = $bars[$i];
		my $margin = $bar->{relation} eq '>=' ? $bar->{ratio} / $bar->{bound} : $bar->{bound} / $bar->{ratio};
		my $length = log($margin) / log(10) * $width / 2;
		$length = $length > $width / 2 ? $width / 2 : $length < -$width / 2 ? -$width / 2 : $length;
		my ($x, $w) = $length >= 0 ? ($goal_x, $length) : ($goal_x + $length, -$length);
		my $y = 30 + $i * $row;
		$svg .= sprintf(qq{<text x="%d" y="%d" text-anchor="end">%s</text>}, $left - 8, $y + 12, escape("$bar->{name}: $bar->{quantity} / $bar->{against}"));
		$svg .= sprintf(qq{<rect x="%.1f" y="%d" width="%.1f" height="14" fill="%s"/>}, $x, $y, $w < 1 ? 1 : $w, $bar->{met} ? '#3a7d44' : '#b23a48');
		$svg .= sprintf(qq{<text x="%d" y="%d">%s (%s)</text>\n}, $left + $width + 8, $y + 12, $bar->{text}, escape($bar->{goal}));
	}
	$svg .= sprintf(qq{<line x1="%d" y1="20" x2="%d" y2="%d" stroke="black"/><text x="%d" y="14" text-anchor="middle">goal</text>\n}, $goal_x, $goal_x, $height - 15, $goal_x);
	Bench::spew($file, "$svg</svg>\n");
	return;
}

1;
