"""Consistent hashing with bounded load, which directs requests with the same key to the same server. Pure functions.

Rendezvous hashing: each server gets a score for the key, and the highest score wins. If a server is added or removed,
only the keys that it wins move; weights are exact (Thaler and Ravishankar 1998; Schindelhauer and Schomaker 2005). A
server whose load would exceed the bound is passed over for the next score (Mirrokni, Thorup and Zadimoghaddam 2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from math import ceil, log

from zatotx.rules.balancing.algorithms import C

_MASK = (1 << 64) - 1


def hash_text(text: str) -> int:
    """Return a 64-bit hash of a text that is the same in every process."""
    return int.from_bytes(blake2b(text.encode('utf-8', 'surrogateescape'), digest_size=8).digest(), 'big')


def choose_consistent_hash(candidates: Sequence[C], key: int, balance: int) -> C:
    """Choose a server by consistent hashing with bounded load. Among the servers whose load is at most `balance`
    percent of the average for their weight, the function returns the server with the highest score for the key. `key`
    is the result of `hash_text`."""
    if len(candidates) == 1:
        return candidates[0]
    best = max(candidates, key=lambda candidate: _score(candidate, key))
    total_weight, total_load = 0.0, 1
    for candidate in candidates:
        total_weight += candidate.weight
        total_load += candidate.in_flight
    factor = total_load * balance / 100 / total_weight
    if best.in_flight < ceil(best.weight * factor):
        return best
    for candidate in sorted(candidates, key=lambda candidate: _score(candidate, key), reverse=True):
        if candidate.in_flight < ceil(candidate.weight * factor):
            return candidate
    return best


def _score(candidate: C, key: int) -> float:
    """The weighted score of rendezvous hashing."""
    mixed = (candidate.seed ^ key) & _MASK  # the finalizer of MurmurHash3
    mixed = ((mixed ^ (mixed >> 33)) * 0xFF51AFD7ED558CCD) & _MASK
    mixed = ((mixed ^ (mixed >> 33)) * 0xC4CEB9FE1A85EC53) & _MASK
    mixed ^= mixed >> 33
    return -candidate.weight / log((mixed + 1) / (_MASK + 2))
