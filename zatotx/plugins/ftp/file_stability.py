"""Decides which files of a directory are complete. A file is complete if its size and modification time have not
changed for some time. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from attrs import define, field, frozen

from zatotx.connectors.remote_files import FileInfo


@frozen
class _Seen:
    info: FileInfo
    since: float  # when it was first seen with this size and time


def matches(name: str, pattern: str, ignored: Iterable[str]) -> bool:
    """Return whether a file name matches `pattern`, which selects the files to fetch, and none of the `ignored`
    patterns."""
    return fnmatchcase(name, pattern) and not any(fnmatchcase(name, each) for each in ignored)


@define
class StabilityTracker:
    """Compares the files of a directory between polls. A file is stable if it has not changed for `stable_for`
    seconds."""

    stable_for: float
    _seen: dict[str, _Seen] = field(factory=dict)

    def update(self, entries: Iterable[FileInfo], now: float) -> list[FileInfo]:
        """Return the files that are complete, the oldest first. `now`: seconds on a clock that does not go back."""
        seen = {}
        for info in entries:
            before = self._seen.get(info.name)
            seen[info.name] = before if before is not None and before.info == info else _Seen(info, now)
        self._seen = seen
        ready = [each for each in seen.values() if now - each.since >= self.stable_for]
        ready.sort(key=lambda each: (each.since, each.info.name))
        return [each.info for each in ready]

    def forget(self, name: str) -> None:
        """A file turned out to be incomplete, or has gone: it begins anew."""
        self._seen.pop(name, None)

    def delay(self, now: float, interval: float) -> float:
        """Return the seconds until the next look: earlier than `interval` where a file will be complete before."""
        ends = [each.since + self.stable_for - now for each in self._seen.values()]
        return min([interval, *(end for end in ends if end > 0)])
