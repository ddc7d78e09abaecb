"""When the keys that an issuer publishes are to be fetched again. Pure.

Keys are good for as long as their answer said (Cache-Control), within bounds. Before that is over they are fetched
beside the requests that use them; after it a request waits for them, a little. While the issuer is away the old ones
stay in use, for a day: longer, and whoever keeps us from the issuer could keep a stolen key in use for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from attrs import define

DEFAULT, SHORTEST, LONGEST = 300.0, 10.0, 3600.0  # seconds that keys are good for
STALE = 86_400.0  # seconds that they are used after that, where there are no newer ones
EARLY = 0.8  # of its time a set of keys may be used before the next one is fetched
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 10.0  # seconds between fetches that fail, or do not bring the key they are for


def cache_lifetime(headers: Mapping[bytes, bytes]) -> float:
    """Seconds that an answer says it is fresh (RFC 9111 §4.2, Cache-Control and Age), within our bounds."""
    said = dict(each.strip().partition(b'=')[::2] for each in headers.get(b'cache-control', b'').lower().split(b','))
    if b'no-store' in said or b'no-cache' in said:
        return SHORTEST
    if b'max-age' not in said:
        return DEFAULT
    fresh = _seconds(said[b'max-age']) - _seconds(headers.get(b'age', b''))
    return min(max(fresh, SHORTEST), LONGEST)


def _seconds(text: bytes) -> float:
    digits = text.strip(b'"')
    return min(float(digits), 2.0**31) if digits.isdigit() else 0.0  # RFC 9111 §1.2.2: as if it were that


@define
class JwksRefresh:
    """The state of one set of keys. All moments are seconds on one clock."""

    _came: float = -inf  # when the keys in use did
    _good: float = 0.0  # seconds from then
    _pause: float = 0.0  # after the last fetch, before the next one
    _tried: float = -inf  # when the last fetch began
    _failing: bool = False  # whether the last one failed

    def must_wait(self, now: float) -> bool:
        """Whether a request has to wait for the next keys: these have had their time, and nothing says that the issuer
        is away; or there are none."""
        over = now >= self._came + self._good
        return over and (not self._failing or self.is_lost(now))

    def is_lost(self, now: float) -> bool:
        """Whether there are no keys that may be used at all."""
        return now >= self._came + self._good + STALE

    def is_due(self, now: float) -> bool:
        """Whether the next keys are to be fetched."""
        return now >= self._came + self._good * EARLY and self.may_fetch(now)

    def may_fetch(self, now: float) -> bool:
        """Whether the issuer may be asked again, whatever for."""
        return now >= self._tried + self._pause

    def steady(self, now: float) -> float:
        """Seconds for which what was verified by these keys needs no second look: until the next ones are due."""
        return max(1.0, self._came + self._good * EARLY - now)

    def tried(self, now: float) -> None:
        """A fetch begins."""
        self._tried = now

    def succeeded(self, now: float, good: float, *, fruitful: bool) -> None:
        """Keys came, good for so many seconds. Not `fruitful`: the key that they were fetched for is not among them."""
        self._came, self._good, self._failing = now, good, False
        self._pause = _FIRST_PAUSE if fruitful else self._longer_pause()

    def failed(self) -> None:
        """No keys came."""
        self._failing = True
        self._pause = self._longer_pause()

    def _longer_pause(self) -> float:
        return min(max(_FIRST_PAUSE, self._pause * 2), _LONGEST_PAUSE)
