"""Decides when to fetch an issuer's key set (JWKS) again. Pure.

Keys are fresh for as long as the response said (Cache-Control), within bounds. Before they expire they are refreshed in
the background; afterwards requests wait for the new keys for a short time. While the issuer is unavailable the old keys
stay in use for up to a day, so that an attacker who blocks the issuer cannot keep a stolen key in use forever.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from attrs import define

DEFAULT_LIFETIME, MIN_LIFETIME, MAX_LIFETIME = 300.0, 10.0, 3600.0  # bounds of the freshness lifetime in seconds
MAX_STALE = 86_400.0  # seconds that expired keys are used if there are no newer ones
REFRESH_FRACTION = 0.8  # fraction of the lifetime after which the next key set is fetched
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 10.0  # seconds between fetches that fail, or lack the requested key


def cache_lifetime(headers: Mapping[bytes, bytes]) -> float:
    """Returns the freshness lifetime of a response in seconds (RFC 9111 §4.2, Cache-Control and Age), within bounds."""
    cache_control = headers.get(b'cache-control', b'').lower()
    directives = dict(directive.strip().partition(b'=')[::2] for directive in cache_control.split(b','))
    if b'no-store' in directives or b'no-cache' in directives:
        return MIN_LIFETIME
    if b'max-age' not in directives:
        return DEFAULT_LIFETIME
    lifetime = _seconds(directives[b'max-age']) - _seconds(headers.get(b'age', b''))
    return min(max(lifetime, MIN_LIFETIME), MAX_LIFETIME)


def _seconds(text: bytes) -> float:
    digits = text.strip(b'"')
    return min(float(digits), 2.0**31) if digits.isdigit() else 0.0  # RFC 9111 §1.2.2: as if it were that


@define
class JwksRefreshState:
    """The state of one key set. All times are seconds on one clock."""

    _fetched_at: float = -inf  # when the keys in use were fetched
    _lifetime: float = 0.0  # their lifetime in seconds
    _pause: float = 0.0  # seconds between the last fetch and the next one
    _last_attempt: float = -inf  # when the last fetch began
    _failing: bool = False  # whether the last one failed

    def must_wait(self, now: float) -> bool:
        """Returns whether a request must wait for the next keys: the current ones have expired and the issuer is not
        known to be unavailable, or there are none."""
        has_expired = now >= self._fetched_at + self._lifetime
        return has_expired and (not self._failing or self.has_no_usable_keys(now))

    def has_no_usable_keys(self, now: float) -> bool:
        """Returns whether there are no usable keys at all."""
        return now >= self._fetched_at + self._lifetime + MAX_STALE

    def is_due(self, now: float) -> bool:
        """Returns whether to fetch the next keys."""
        return now >= self._fetched_at + self._lifetime * REFRESH_FRACTION and self.may_fetch(now)

    def may_fetch(self, now: float) -> bool:
        """Returns whether a fetch is allowed, for whatever reason."""
        return now >= self._last_attempt + self._pause

    def cache_time(self, now: float) -> float:
        """Returns the seconds for which verification results can be cached: until the next keys are due."""
        return max(1.0, self._fetched_at + self._lifetime * REFRESH_FRACTION - now)

    def record_fetch(self, now: float) -> None:
        """Records the start of a fetch."""
        self._last_attempt = now

    def record_success(self, now: float, lifetime: float, *, has_requested_key: bool) -> None:
        """Records fetched keys with a lifetime of `lifetime` seconds. `has_requested_key`: they contain the key they
        were fetched for."""
        self._fetched_at, self._lifetime, self._failing = now, lifetime, False
        self._pause = _FIRST_PAUSE if has_requested_key else self._longer_pause()

    def record_failure(self) -> None:
        """Records a failed fetch."""
        self._failing = True
        self._pause = self._longer_pause()

    def _longer_pause(self) -> float:
        return min(max(_FIRST_PAUSE, self._pause * 2), _LONGEST_PAUSE)
