"""Builds charts: the scales, bars and lines that the templates draw as SVG, and a text that summarizes the chart. Pure
functions."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10

from attrs import frozen

WIDTH, HEIGHT = 640, 180  # of the area with the values, in units of the view box
MAX_LABELS = 8  # on the axis of time


@frozen
class Mark:
    """One value of a chart, which is drawn as a bar or as a point of a line."""

    x: float
    y: float
    width: float
    height: float
    label: str  # of its period
    text: str  # the value


@frozen(kw_only=True)
class Chart:
    """A chart of values over periods of time. `ticks` are the heights and texts on the value axis, `labels` are the
    positions and texts on the time axis, and `summary` describes the chart in words."""

    title: str
    unit: str
    marks: Sequence[Mark]
    ticks: Sequence[tuple[float, str]]
    labels: Sequence[tuple[float, str]]
    summary: str

    @property
    def points(self) -> str:
        """The points of the line through the values."""
        return ' '.join(f'{mark.x + mark.width / 2:g},{mark.y:g}' for mark in self.marks)


def make_chart(title: str, unit: str, labels: Sequence[str], values: Sequence[float]) -> Chart:
    """Create the chart of a value that was measured in each period."""
    top = nice_ceiling(max(values, default=0))
    step = WIDTH / max(1, len(values))
    marks = [
        Mark(round(number * step + step * 0.1, 2), round(HEIGHT - HEIGHT * value / top, 2), round(step * 0.8, 2),
             round(HEIGHT * value / top, 2), label, format_value(value))
        for number, (label, value) in enumerate(zip(labels, values, strict=True))
    ]  # fmt: skip
    parts = _divide(top) if unit == 'calls' else 4
    ticks = [(round(HEIGHT - HEIGHT * part / parts, 2), format_value(top * part / parts)) for part in range(parts + 1)]
    every = max(1, ceil(len(labels) / MAX_LABELS))
    shown = [(round(number * step + step / 2, 2), label) for number, label in enumerate(labels) if number % every == 0]
    return Chart(title=title, unit=unit, marks=marks, ticks=ticks, labels=shown,
                 summary=_summary(title, unit, labels, values))  # fmt: skip


def _summary(title: str, unit: str, labels: Sequence[str], values: Sequence[float]) -> str:
    if not any(values):
        return f'{title}: nothing in this time.'
    highest = max(range(len(values)), key=lambda number: values[number])
    return (f'{title} from {labels[0]} to {labels[-1]}: at most {format_value(values[highest])} {unit} at '
            f'{labels[highest]}, at the end {format_value(values[-1])} {unit}.')  # fmt: skip


def _divide(top: float) -> int:
    """Return the number of parts of an axis of whole numbers."""
    return next(parts for parts in (4, 5, 2, 1) if top % parts == 0)


def nice_ceiling(value: float) -> float:
    """Return the smallest number of the form d * 10^n, with d in 1, 2, 4, 5, 8, that is at least `value`. Returns 1 for
    0."""
    if value <= 0:
        return 1.0
    power = 10.0 ** floor(log10(value))
    return next(factor * power for factor in (1, 2, 4, 5, 8, 10) if factor * power >= value * (1 - 1e-9))


def sparkline(values: Sequence[float], width: float = 100, height: float = 20) -> str:
    """Return the points of a sparkline, which is a small line chart that uses the whole height."""
    top, step = max(values, default=0) or 1, width / max(1, len(values) - 1)
    return ' '.join(f'{number * step:.4g},{height - (height - 1) * value / top:.4g}'
                    for number, value in enumerate(values))  # fmt: skip


def format_value(value: float) -> str:
    """Format a number in readable form, such as 1.25, 12.5, 1,250 or 1.25 M."""
    if value >= 10_000_000:
        return f'{value / 1_000_000:,.3g} M'
    if value >= 1_000:
        return f'{value:,.0f}'
    return f'{value:.3g}'
