# Bench::Report: the table of results and its picture. Rows are printed as they come, with every value that was measured, and
# again as one table at the end.
package Bench::Report;

use strict;
use warnings;

use Exporter qw(import);

use Bench qw(median say_line);

our @EXPORT_OK = qw(compare limit curve note_line print_table write_svg);

my (@results, @curves);

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

# How a cost grows: points [x, y].
sub curve
{
	my ($name, $of, $unit, @points) = @_;
	push @curves, {name => $name, of => $of, unit => $unit, points => \@points};
	print_curve($curves[-1]);
	return;
}

sub print_curve
{
	my ($curve) = @_;
	say_line("$curve->{name} ($curve->{unit}), by $curve->{of}: " . join(', ', map { "$_->[0]: " . format_number($_->[1]) } @{$curve->{points}}));
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
	print_curve($_) for @curves;
	my $missed = grep { !$_->{met} } @results;
	say_line(sprintf("\n%d rows, %d miss their goal", scalar @results, $missed));
	return;
}

sub escape { my ($text) = @_; $text =~ s/&/&amp;/g; $text =~ s/</&lt;/g; $text =~ s/>/&gt;/g; return $text; }

# The points from left to right, equally far apart, above a line for 0.
sub draw_curve
{
	my ($curve, $top) = @_;
	my @points = @{$curve->{points}};
	my ($max) = sort { $b <=> $a } map { $_->[1] } @points;
	my @at = map { [100 + $_ * 150, $top + 100 - 70 * $points[$_][1] / ($max || 1)] } 0 .. $#points;
	my $svg = sprintf(qq{<text x="20" y="%d">%s (%s), by %s</text>\n}, $top + 15, escape($curve->{name}), $curve->{unit}, escape($curve->{of}));
	$svg .= sprintf(qq{<polyline fill="none" stroke="#3a7d44" stroke-width="2" points="%s"/>}, join(' ', map { sprintf('%.1f,%.1f', @$_) } @at));
	$svg .= sprintf(qq{<line x1="60" y1="%d" x2="%d" y2="%d" stroke="gray"/>}, $top + 100, $at[-1][0] + 40, $top + 100);
	$svg .= sprintf(qq{<text x="%d" y="%.1f" text-anchor="middle">%s</text><text x="%d" y="%d" text-anchor="middle">%s</text>\n}, $at[$_][0], $at[$_][1] - 6, format_number($points[$_][1]), $at[$_][0], $top + 115, $points[$_][0])
	  for 0 .. $#points;
	return $svg;
}

# A bar for each ratio on a logarithmic scale, 1 is the goal: to the right is better.
sub write_svg
{
	my ($file) = @_;
	my @bars = grep { defined $_->{ratio} && $_->{ratio} > 0 } @results;
	my ($row, $left, $width) = (22, 520, 360);
	my $curves_at = $row * @bars + 50;
	my $height = $curves_at + 140 * @curves;
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
	$svg .= sprintf(qq{<line x1="%d" y1="20" x2="%d" y2="%d" stroke="black"/><text x="%d" y="14" text-anchor="middle">goal</text>\n}, $goal_x, $goal_x, $curves_at - 15, $goal_x) if @bars;
	$svg .= draw_curve($curves[$_], $curves_at + 140 * $_) for 0 .. $#curves;
	Bench::spew($file, "$svg</svg>\n");
	return;
}

1;
