"""Load balancing algorithms. Each algorithm chooses one of the available servers for a request. Pure functions.

A server is a `Candidate`: its effective weight and its load are read, and the algorithms keep their own figure,
`credit`, on it. Ratios of weights matter, not their size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar


class CandidateServer(Protocol):
    """A backend server with the attributes that the load balancing algorithms read."""

    weight: float  # effective, more than 0
    in_flight: int  # requests it is processing, or connections it holds
    credit: float  # owned by the algorithm; 0 for a new server

    @property
    def seed(self) -> int:
        """64 bits derived from its name, for consistent hashing."""


C = TypeVar('C', bound=CandidateServer)


def choose_round_robin(candidates: Sequence[C]) -> C:
    """Choose a server by smooth weighted round robin: each server's share of the choices is proportional to its weight,
    and its choices are spread evenly. While the candidates do not change, the number of choices of each server differs
    from its share by less than one.

    This is Tijdeman's algorithm for the chairman assignment problem (Discrete Mathematics 32, 1980): of the servers
    whose share has grown by enough, the one that would be late first. Choosing the one that is furthest behind, as
    nginx does, exceeds one choice for some weights."""
    count = len(candidates)
    if count == 1:
        return candidates[0]
    total = 0.0
    for candidate in candidates:
        total += candidate.weight
    margin = 1 / (2 * count - 2)
    best: C | None = None
    best_deadline = 0.0
    furthest_behind = candidates[0]
    for candidate in candidates:
        share = candidate.weight / total
        credit = candidate.credit = candidate.credit + share
        if credit > furthest_behind.credit:
            furthest_behind = candidate
        if credit >= margin - 1e-9:
            deadline = (1 - margin - credit) / share
            if best is None or deadline < best_deadline - 1e-9:
                best, best_deadline = candidate, deadline
    chosen = furthest_behind if best is None else best
    chosen.credit -= 1
    return chosen


def choose_lowest_load(candidates: Sequence[C]) -> C:
    """Choose the server with the lowest load relative to its weight. Among servers of equal load, choose by
    `choose_round_robin`."""
    best = candidates[0]
    lowest = best.in_flight / best.weight
    ties = 0
    for candidate in candidates:
        load = candidate.in_flight / candidate.weight
        if load < lowest:
            best, lowest, ties = candidate, load, 1
        elif load == lowest:
            ties += 1
    if ties == 1:
        return best
    return choose_round_robin([one for one in candidates if one.in_flight / one.weight == lowest])


def choose_power_of_two(candidates: Sequence[C], random: Callable[[], float]) -> C:
    """Choose a server by the power of two choices: draw two servers at random by weight, and return the one with the
    lower load. `random` returns a number in [0, 1)."""
    if len(candidates) == 1:
        return candidates[0]
    first = _draw(candidates, random())
    second = _draw([candidate for candidate in candidates if candidate is not first], random())
    return second if second.in_flight * first.weight < first.in_flight * second.weight else first


def _draw(candidates: Sequence[C], number: float) -> C:
    """Return a candidate by weight; `number` is in [0, 1)."""
    left = number * sum(candidate.weight for candidate in candidates)
    for candidate in candidates:
        left -= candidate.weight
        if left < 0:
            return candidate
    return candidates[-1]
