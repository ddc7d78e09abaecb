"""What a definition accepts of tokens (RFC 7519, RFC 8725): their headers, and their claims at a moment. Pure.

Sentences say why a token is refused. They are for the log, and repeat nothing of the token: the caller learns only that
it was refused (RFC 6750 §3.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Any

import msgspec

from zatotx.rules.security.roles import ADMIN, API, MONITOR
from zatotx.schema.security import Jwt
from zatotx.wire.security.jwk import VerificationKey

_LAST = 253_402_300_799  # the end of the year 9999, in seconds: what is later is no date
_LARGE = 2**64  # numbers that name users are smaller
_RESERVED = frozenset({ADMIN, API, MONITOR})
_TYPES = frozenset({'jwt', 'at+jwt'})  # of what end in 'jwt': the others are made for other uses (RFC 8725 §3.11)


class UnacceptableToken(ValueError):  # noqa: N818 - what the token is
    """Why a token is refused."""


class JwtTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What a definition asks of tokens."""

    algorithms: frozenset[str]
    issuer: str  # '' = any
    audience: frozenset[str]  # none = any
    leeway: float  # seconds
    require_exp: bool
    username_claim: str
    roles_claim: str  # '' = none


def jwt_terms(definition: Jwt) -> JwtTerms:
    """The terms that the fields of a definition say."""
    return JwtTerms(
        algorithms=frozenset(definition.algorithms), issuer=definition.issuer,
        audience=frozenset(definition.audience), leeway=definition.leeway, require_exp=definition.require_exp,
        username_claim=definition.username_claim, roles_claim=definition.roles_claim,
    )  # fmt: skip


def read_header(header: Mapping[str, Any], terms: JwtTerms) -> tuple[str, str | None]:
    """Algorithm and kid. Keys and URLs in a header are not looked at (RFC 8725 §3.10). Raises Unacceptable."""
    algorithm, kid, type_ = header.get('alg'), header.get('kid'), header.get('typ', '')
    if not isinstance(algorithm, str) or algorithm not in terms.algorithms:
        raise UnacceptableToken('its alg is none of the definition')
    if 'crit' in header:
        raise UnacceptableToken('it has a crit, and no extension is known here')
    if 'b64' in header:
        raise UnacceptableToken('it has a b64, and the payload of a token is always coded')  # RFC 7797 §7
    if kid is not None and not isinstance(kid, str):
        raise UnacceptableToken('its kid is no text')
    if not isinstance(type_, str) or not _is_access_token(type_):
        raise UnacceptableToken('its typ is not of tokens that are for calling services')
    return algorithm, kid


def _is_access_token(type_: str) -> bool:
    short = type_.lower().removeprefix('application/')
    return short in _TYPES or not short.endswith('jwt')


def valid_until(claims: Mapping[str, Any], terms: JwtTerms, now: float) -> float:
    """The moment from which the token is not accepted any more; inf = none. `now`: seconds since 1970. Raises
    Unacceptable."""
    expires, begins, issued = (_date(claims, name) for name in ('exp', 'nbf', 'iat'))
    if expires is None and terms.require_exp:
        raise UnacceptableToken('it has no exp')
    end = inf if expires is None else expires + terms.leeway
    if now >= end:
        raise UnacceptableToken('its exp has passed')
    if begins is not None and now < begins - terms.leeway:
        raise UnacceptableToken('its nbf is yet to come')
    if issued is not None and now < issued - terms.leeway:
        raise UnacceptableToken('its iat is yet to come')
    if terms.issuer and claims.get('iss') != terms.issuer:
        raise UnacceptableToken('its iss is not the issuer of the definition')
    if terms.audience and terms.audience.isdisjoint(_texts(claims.get('aud'))):
        raise UnacceptableToken('its aud is not the audience of the definition')
    return end


def _date(claims: Mapping[str, Any], name: str) -> float | None:
    """A NumericDate (RFC 7519 §2)."""
    if name not in claims:
        return None
    value = claims[name]
    if type(value) not in (int, float) or not 0 <= value <= _LAST:
        raise UnacceptableToken(f'its {name} is no date')
    return float(value)


def _texts(value: object) -> Iterable[str]:
    """A text, or the texts of a list."""
    if isinstance(value, str):
        return (value,)
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else ()


def username(claims: Mapping[str, Any], terms: JwtTerms) -> str:
    """Whom the token is of; '' where it does not say. Raises Unacceptable where that is neither text nor number."""
    value = claims.get(terms.username_claim, '')
    if type(value) is int and abs(value) < _LARGE:
        return str(value)
    if not isinstance(value, str):
        raise UnacceptableToken(f'its {terms.username_claim} is no text')
    return value


def roles(claims: Mapping[str, Any], terms: JwtTerms) -> frozenset[str]:
    """The roles that the token gives. The broker's own roles are not in the gift of an issuer."""
    if not terms.roles_claim:
        return frozenset()
    value = _within(claims, terms.roles_claim)
    given = value.split() if isinstance(value, str) else _texts(value)
    return frozenset(given) - _RESERVED


def _within(claims: Mapping[str, Any], path: str) -> object:
    """The claim of that name, or what the names between the dots lead to."""
    if path in claims:
        return claims[path]
    found: object = claims
    for name in path.split('.'):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def select_key(keys: Sequence[VerificationKey], algorithm: str, kid: str | None) -> VerificationKey | None:
    """The key that a token is to be verified with; None where there is none, or more than one: nothing is tried out."""
    fitting = [key for key in keys if algorithm in key.algorithms and (kid is None or key.kid == kid)]
    return fitting[0] if len(fitting) == 1 else None
