"""The addresses of a name: in which order they are tried, and how long they are remembered. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import chain, zip_longest

from attrs import frozen

KEPT = 30.0  # seconds that the addresses of a name are used
KEPT_FAILURE = 2.0  # seconds that nobody asks again for a name that was not found
_MOST = 1_000  # names remembered


@frozen
class LookupResult:
    """What a lookup gave: addresses as text, IPv6 with its zone if any; or why there are none."""

    addresses: tuple[str, ...]
    why: str = ''  # nothing, or a few words of the resolver's


def interleave_families(addresses: Sequence[str]) -> tuple[str, ...]:
    """The same, each once, families in turn from the first one's on (RFC 8305 §4): a family that does not work here
    costs one attempt, however many of its addresses there are."""
    unique = tuple(dict.fromkeys(addresses))
    first = [one for one in unique if (':' in one) == (':' in unique[0])]
    other = [one for one in unique if (':' in one) != (':' in unique[0])]
    return tuple(one for one in chain.from_iterable(zip_longest(first, other)) if one is not None)


class DnsCache:
    """What was found lately, by name: the most used of it."""

    __slots__ = ('_entries',)

    def __init__(self) -> None:
        self._entries: OrderedDict[str, tuple[float, LookupResult]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, name: str, now: float) -> LookupResult | None:
        """What is known of a name and not too old."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        until, found = entry
        if now >= until:
            del self._entries[name]
            return None
        self._entries.move_to_end(name)
        return found

    def put(self, name: str, found: LookupResult, now: float) -> None:
        """Remember it."""
        self._entries[name] = (now + (KEPT if found.addresses else KEPT_FAILURE), found)
        self._entries.move_to_end(name)
        if len(self._entries) > _MOST:
            self._entries.popitem(last=False)
