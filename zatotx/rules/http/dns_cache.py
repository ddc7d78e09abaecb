"""Cache of DNS lookups, and the order in which the addresses of a name are tried. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import chain, zip_longest

from attrs import frozen

TTL = 30.0  # seconds that a successful lookup is cached
FAILURE_TTL = 2.0  # seconds that a failed lookup is cached
_MAX_NAMES = 1_000  # maximum number of names


@frozen
class LookupResult:
    """The result of a lookup: addresses as text, IPv6 with its zone if any; or why there are none."""

    addresses: tuple[str, ...]
    error: str = ''  # '', or the error of the resolver


def interleave_families(addresses: Sequence[str]) -> tuple[str, ...]:
    """Returns the unique addresses with alternating families, beginning with that of the first (RFC 8305 §4): a family
    without connectivity costs one attempt, however many addresses it has."""
    unique = tuple(dict.fromkeys(addresses))
    first = [address for address in unique if (':' in address) == (':' in unique[0])]
    other = [address for address in unique if (':' in address) != (':' in unique[0])]
    return tuple(address for address in chain.from_iterable(zip_longest(first, other)) if address is not None)


class DnsCache:
    """An LRU cache of lookup results by name."""

    __slots__ = ('_entries',)

    def __init__(self) -> None:
        self._entries: OrderedDict[str, tuple[float, LookupResult]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, name: str, now: float) -> LookupResult | None:
        """Returns the cached result if it has not expired."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        expires, result = entry
        if now >= expires:
            del self._entries[name]
            return None
        self._entries.move_to_end(name)
        return result

    def put(self, name: str, result: LookupResult, now: float) -> None:
        """Caches a result."""
        self._entries[name] = (now + (TTL if result.addresses else FAILURE_TTL), result)
        self._entries.move_to_end(name)
        if len(self._entries) > _MAX_NAMES:
            self._entries.popitem(last=False)
