"""Benchmark results: rows with a target each, and their table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median

import msgspec

from bench.load import Result


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One result and the target that it has to meet."""

    what: str
    figure: str  # as measured, with its unit
    value: float  # compared with the bar
    bar: float
    at_least: bool = False  # the bar is a minimum instead of a maximum
    unit: str = ''  # of value and bar

    @property
    def met(self) -> bool:
        """Whether the value meets the bar."""
        return self.value >= self.bar if self.at_least else self.value <= self.bar


def in_turns(rounds: int, runs: Mapping[str, Callable[[], Result]], say: Callable[[str], None]) -> dict[str, Result]:
    """Run A, B, C, A, B, C, … and return the median run of each, so that a slower machine affects all of them alike."""
    found: dict[str, list[Result]] = {name: [] for name in runs}
    for number in range(rounds):
        for name, measure in runs.items():
            found[name].append(measure())
        rates = ', '.join(f'{name} {results[-1].rate:,.0f}/s' for name, results in found.items())
        say(f'  round {number + 1}: {rates}')
    return {name: middle(results) for name, results in found.items()}


def middle(results: Sequence[Result]) -> Result:
    """The run with the median rate (the lower median if the number of runs is even)."""
    return sorted(results, key=lambda result: result.rate)[(len(results) - 1) // 2]


def median_of(rounds: int, measure: Callable[[], float]) -> float:
    """The median of `rounds` measurements."""
    return median(measure() for _ in range(rounds))


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table that is also readable on a terminal."""
    heads = ('what', 'measured', 'value', 'bar', 'met')
    cells = [(r.what, r.figure, _number(r.value, r.unit), _bar(r), 'yes' if r.met else 'NO') for r in rows]
    widths = [max(len(line[i]) for line in [heads, *cells]) for i in range(len(heads))]
    lines = [_line(heads, widths), '| ' + ' | '.join('-' * width for width in widths) + ' |']
    return '\n'.join([*lines, *(_line(cell, widths) for cell in cells)])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return '| ' + ' | '.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + ' |'


def _bar(row: Row) -> str:
    return ('>= ' if row.at_least else '<= ') + _number(row.bar, row.unit)


def _number(value: float, unit: str) -> str:
    return f'{value:.2f}{unit}' if value < 100 else f'{value:,.0f}{unit}'
