"""Compares two versions of deployed code line by line. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import SequenceMatcher

from attrs import frozen

CONTEXT = 3  # unchanged lines around a change
MAX_LINES = 5_000  # of one file; longer ones are not compared
SAME, OLD, NEW, GAP = 'same', 'old', 'new', 'gap'


@frozen
class DiffLine:
    """One line of a comparison. The numbers are the line numbers in both versions, or 0 if a version does not contain
    the line."""

    kind: str
    old_number: int
    new_number: int
    text: str


@frozen
class FileDiff:
    """The differences in one file. `note` gives the reason if there are no lines."""

    path: str
    lines: tuple[DiffLine, ...] = ()
    note: str = ''

    @property
    def added(self) -> int:
        return sum(1 for line in self.lines if line.kind == NEW)

    @property
    def removed(self) -> int:
        return sum(1 for line in self.lines if line.kind == OLD)


def diff_files(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> list[FileDiff]:
    """Return the differences of all changed files, by path."""
    paths = sorted({*old, *new})
    return [_diff_file(path, old.get(path), new.get(path)) for path in paths if old.get(path) != new.get(path)]


def _diff_file(path: str, old: bytes | None, new: bytes | None) -> FileDiff:
    try:
        texts = [(content or b'').decode('utf-8').splitlines() for content in (old, new)]
    except UnicodeDecodeError:
        return FileDiff(path, note='It is not text in UTF-8.')
    if max(map(len, texts)) > MAX_LINES:
        return FileDiff(path, note=f'It has more than {MAX_LINES} lines: download both versions to compare them.')
    lines = tuple(_diff_lines(*texts))
    return FileDiff(path, lines, '' if lines else 'Only line ends or the existence of the file differ.')


def _diff_lines(old: list[str], new: list[str]) -> list[DiffLine]:
    found: list[DiffLine] = []
    for group in SequenceMatcher(None, old, new).get_grouped_opcodes(CONTEXT):
        if found:
            found.append(DiffLine(GAP, 0, 0, ''))
        for action, old_start, old_end, new_start, new_end in group:
            if action == 'equal':
                found.extend(
                    DiffLine(SAME, old_start + step + 1, new_start + step + 1, old[old_start + step])
                    for step in range(old_end - old_start)
                )
                continue
            found.extend(DiffLine(OLD, row + 1, 0, old[row]) for row in range(old_start, old_end))
            found.extend(DiffLine(NEW, 0, row + 1, new[row]) for row in range(new_start, new_end))
    return found
