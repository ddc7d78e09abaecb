"""Validates the header and the claims of JSON Web Tokens (RFC 7519, RFC 8725) against a security definition. Pure: no
I/O.

Error messages are for the log and contain nothing from the token: the caller learns only that it was rejected (RFC 6750
§3.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Any

import msgspec
from attrs import define

from zatotx.rules.security.roles import ADMIN, API, MONITOR, OPERATOR, VIEWER
from zatotx.wire.jwk_and_jws import VerificationKey

_MAX_DATE = 253_402_300_799  # the end of the year 9999 in seconds, the latest valid date
_MAX_NUMERIC_NAME = 2**64  # exclusive maximum of numeric user names
_RESERVED = frozenset({ADMIN, API, MONITOR, OPERATOR, VIEWER})
# accepted types among those that end in 'jwt': the others serve other purposes (RFC 8725 §3.11)
_TYPES = frozenset({'jwt', 'at+jwt'})


class TokenRejected(ValueError):  # noqa: N818 - named for the condition
    """A token is rejected. The message gives the reason."""


class JwtRequirements(msgspec.Struct, frozen=True, kw_only=True):
    """The requirements that a JWT security definition places on tokens."""

    algorithms: frozenset[str]
    issuer: str  # '' = any
    audience: frozenset[str]  # empty = any
    leeway: float  # seconds
    require_exp: bool
    username_claim: str
    roles_claim: str  # '' = none


def read_token_header(header: Mapping[str, Any], requirements: JwtRequirements) -> tuple[str, str | None]:
    """Return the algorithm and key ID of a token's header. Ignores keys and URLs in the header (RFC 8725 §3.10). Raises
    TokenRejected."""
    algorithm, kid, type_ = header.get('alg'), header.get('kid'), header.get('typ', '')
    if not isinstance(algorithm, str) or algorithm not in requirements.algorithms:
        raise TokenRejected('its alg is none of the definition')
    if 'crit' in header:
        raise TokenRejected('it has a crit, and no extension is known here')
    if 'b64' in header:
        raise TokenRejected('it has a b64, and the payload of a token is always coded')  # RFC 7797 §7
    if kid is not None and not isinstance(kid, str):
        raise TokenRejected('its kid is no text')
    if not isinstance(type_, str) or not _is_access_token(type_):
        raise TokenRejected('its typ is not of tokens that are for calling services')
    return algorithm, kid


def _is_access_token(type_: str) -> bool:
    short = type_.lower().removeprefix('application/')
    return short in _TYPES or not short.endswith('jwt')


def validate_token_claims(claims: Mapping[str, Any], requirements: JwtRequirements, now: float) -> float:
    """Validate the claims of a token, and return the time at which the token expires, or infinity if the token never
    expires. `now` is in seconds since 1970. Raises TokenRejected."""
    expires, begins, issued = (_date(claims, name) for name in ('exp', 'nbf', 'iat'))
    if expires is None and requirements.require_exp:
        raise TokenRejected('it has no exp')
    end = inf if expires is None else expires + requirements.leeway
    if now >= end:
        raise TokenRejected('its exp has passed')
    if begins is not None and now < begins - requirements.leeway:
        raise TokenRejected('its nbf is yet to come')
    if issued is not None and now < issued - requirements.leeway:
        raise TokenRejected('its iat is yet to come')
    if requirements.issuer and claims.get('iss') != requirements.issuer:
        raise TokenRejected('its iss is not the issuer of the definition')
    if requirements.audience and requirements.audience.isdisjoint(_texts(claims.get('aud'))):
        raise TokenRejected('its aud is not the audience of the definition')
    return end


def _date(claims: Mapping[str, Any], name: str) -> float | None:
    """Return a NumericDate claim (RFC 7519 §2)."""
    if name not in claims:
        return None
    value = claims[name]
    if type(value) not in (int, float) or not 0 <= value <= _MAX_DATE:
        raise TokenRejected(f'its {name} is no date')
    return float(value)


def _texts(value: object) -> Iterable[str]:
    """Return the items of a text or a list that are text."""
    if isinstance(value, str):
        return (value,)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else ()


def token_username(claims: Mapping[str, Any], requirements: JwtRequirements) -> str:
    """Return the user name in a token's claims, or '' if there is none. Raises TokenRejected if it is neither text
    nor a number."""
    value = claims.get(requirements.username_claim, '')
    if type(value) is int and abs(value) < _MAX_NUMERIC_NAME:
        return str(value)
    if not isinstance(value, str):
        raise TokenRejected(f'its {requirements.username_claim} is no text')
    return value


def token_roles(claims: Mapping[str, Any], requirements: JwtRequirements) -> frozenset[str]:
    """Return the roles that a token's claims grant. An issuer cannot grant the broker's own roles."""
    if not requirements.roles_claim:
        return frozenset()
    value = _claim_at_path(claims, requirements.roles_claim)
    names = value.split() if isinstance(value, str) else _texts(value)
    return frozenset(names) - _RESERVED


def _claim_at_path(claims: Mapping[str, Any], path: str) -> object:
    """Return the claim with that name, or the nested claim at a dotted path."""
    if path in claims:
        return claims[path]
    claim: object = claims
    for name in path.split('.'):
        claim = claim.get(name) if isinstance(claim, Mapping) else None
    return claim


def select_verification_key(keys: Sequence[VerificationKey], algorithm: str, kid: str | None) -> VerificationKey | None:
    """Return the key with which to verify a token, or None if no key or more than one key matches. The function never
    tries several keys."""
    candidates = [key for key in keys if algorithm in key.algorithms and (kid is None or key.kid == kid)]
    return candidates[0] if len(candidates) == 1 else None


# Decides when to fetch an issuer's key set (JWKS) again. Pure.
#
# Keys are fresh for as long as the response said (Cache-Control), within bounds. Before they expire they are
# refreshed in the background; afterwards requests wait for the new keys for a short time. While the issuer is
# unavailable the old keys stay in use for up to a day, so that an attacker who blocks the issuer cannot keep a stolen
# key in use forever.

DEFAULT_LIFETIME, MIN_LIFETIME, MAX_LIFETIME = 300.0, 10.0, 3600.0  # bounds of the freshness lifetime in seconds
MAX_STALE = 86_400.0  # seconds that expired keys are used if there are no newer ones
REFRESH_FRACTION = 0.8  # fraction of the lifetime after which the next key set is fetched
_FIRST_PAUSE, _MAX_PAUSE = 1.0, 10.0  # seconds between fetches that fail, or lack the requested key


def response_freshness_lifetime(headers: Mapping[bytes, bytes]) -> float:
    """Return the number of seconds for which a response may be cached, within bounds. The number is the freshness
    lifetime of RFC 9111 §4.2, calculated from Cache-Control and Age."""
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
    """Decides when to fetch the JSON Web Key Set of an issuer again. All times are in seconds on one clock."""

    _fetched_at: float = -inf  # when the keys in use were fetched
    _lifetime: float = 0.0  # their lifetime in seconds
    _pause: float = 0.0  # seconds between the last fetch and the next one
    _last_attempt: float = -inf  # when the last fetch began
    _failing: bool = False  # whether the last one failed

    def must_wait(self, now: float) -> bool:
        """Return whether a request must wait for the next keys: the current ones have expired and the issuer is not
        known to be unavailable, or there are none."""
        has_expired = now >= self._fetched_at + self._lifetime
        return has_expired and (not self._failing or self.has_no_usable_keys(now))

    def has_no_usable_keys(self, now: float) -> bool:
        """Return whether there are no usable keys at all."""
        return now >= self._fetched_at + self._lifetime + MAX_STALE

    def is_due(self, now: float) -> bool:
        """Return whether to fetch the next keys."""
        return now >= self._fetched_at + self._lifetime * REFRESH_FRACTION and self.may_fetch(now)

    def may_fetch(self, now: float) -> bool:
        """Return whether a fetch is allowed, for whatever reason."""
        return now >= self._last_attempt + self._pause

    def cache_time(self, now: float) -> float:
        """Return the seconds for which verification results can be cached: until the next keys are due."""
        return max(1.0, self._fetched_at + self._lifetime * REFRESH_FRACTION - now)

    def record_fetch(self, now: float) -> None:
        """Record the start of a fetch."""
        self._last_attempt = now

    def record_success(self, now: float, lifetime: float, *, has_requested_key: bool) -> None:
        """Record fetched keys with a lifetime of `lifetime` seconds. `has_requested_key`: they contain the key they
        were fetched for."""
        self._fetched_at, self._lifetime, self._failing = now, lifetime, False
        self._pause = _FIRST_PAUSE if has_requested_key else self._longer_pause()

    def record_failure(self) -> None:
        """Record a failed fetch."""
        self._failing = True
        self._pause = self._longer_pause()

    def _longer_pause(self) -> float:
        return min(max(_FIRST_PAUSE, self._pause * 2), _MAX_PAUSE)
