"""JSON Web Tokens (RFC 7519) in the scheme Bearer (RFC 6750).

A token is read and judged by its claims first, and its signature verified last, here on the reactor: that takes 30 to
700 microseconds by algorithm, less than the way into a thread and back would delay everybody. One that was seen before
costs a digest. Whatever is wrong with a token, its sender reads the same; the log says what, where it is told to.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from hashlib import blake2b
from inspect import isawaitable
from math import inf
from os import urandom
from types import MappingProxyType
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from zatotx.interfaces.fetcher import IFetcher
from zatotx.model.errors import Unauthorized
from zatotx.model.message import Message, Principal
from zatotx.pipeline.security.authenticator import ANY_OF_THEM, principal_of
from zatotx.pipeline.security.challenges import challenge_of
from zatotx.pipeline.security.jwks import PublishedKeySet
from zatotx.pipeline.security.principal_cache import PrincipalCache
from zatotx.rules.security.jwt import UnacceptableToken, jwt_terms, read_header, roles, username, valid_until
from zatotx.schema.security import Jwt
from zatotx.schema.snapshot import Stored
from zatotx.wire.http.authorization import parse_bearer
from zatotx.wire.json.unique_members import decode_object
from zatotx.wire.malformed import Malformed
from zatotx.wire.security.jwk import VerificationKey, key_of_pem, key_of_secret
from zatotx.wire.security.jws import SignedToken, parse_compact

REMEMBERED = 5_000  # verified tokens kept a definition: a few kilobytes each
CHALLENGE = challenge_of('jwt')
REFUSED = f'{CHALLENGE}, error="invalid_token"'


class KeySource(Protocol):
    """Where the keys of a definition are."""

    @property
    def steady(self) -> float: ...  # seconds for which what they verified needs no second look

    @property
    def problem(self) -> str: ...  # why there are none, or no new ones; '' = all is well

    def find(self, algorithm: str, kid: str | None) -> VerificationKey | Awaitable[VerificationKey | None] | None: ...


class SingleKey:
    """The key that stands in the definition. A token's kid says nothing then."""

    steady = inf

    def __init__(self, key: VerificationKey | None, problem: str = '') -> None:
        self._key = key
        self.problem = problem

    def find(self, algorithm: str, kid: str | None) -> VerificationKey | None:
        """The key, whatever it is asked for: it knows itself what it is good for."""
        return self._key


class PresentedToken(msgspec.Struct, frozen=True):
    """A token whose claims are good, and whose signature is still to be verified."""

    signed: SignedToken
    algorithm: str
    kid: str | None
    claims: Mapping[str, Any]
    until: float
    digest: bytes


class JwtAuthenticator:
    """The check of one JWT definition. `now`: seconds since 1970."""

    needs_body = False
    sort = 'jwt'
    claim = ANY_OF_THEM
    challenge = CHALLENGE
    _log = Logger()

    def __init__(
        self, stored: Stored, keys_of: Callable[[Callable[[], None]], KeySource], now: Callable[[], float] = time.time
    ) -> None:
        self._stored = stored
        self._terms = jwt_terms(stored.value)
        self._known: PrincipalCache[bytes] = PrincipalCache(REMEMBERED)
        self._keys = keys_of(self._known.clear)
        self._now = now
        self._keyed = blake2b(key=urandom(32), digest_size=16)

    def claimed(self, inbound: Message) -> str | None:
        """Any of the issuers, where there is a token."""
        field = inbound.headers.get(b'authorization')
        return None if field is None or field[:7].lower() != b'bearer ' else ANY_OF_THEM

    def check(self, inbound: Message) -> Principal | Awaitable[Principal]:
        """The principal, at once unless keys have to be fetched. Raises Unauthorized; ServiceUnavailable while there
        are no keys."""
        field = inbound.headers.get(b'authorization')
        if field is None:
            raise Unauthorized(inbound.cid, None, CHALLENGE)
        keyed = self._keyed.copy()
        keyed.update(field)
        digest = keyed.digest()
        known = self._known.get(digest, self._now())
        return self._first_time(inbound, field, digest) if known is None else known

    def findings(self) -> Iterator[str]:
        """That there are no keys, or no new ones."""
        problem = self._keys.problem
        if problem:
            yield f'JWT definition {self._stored.name!r} has no keys, or those of before alone: {problem}'

    def _first_time(self, inbound: Message, field: bytes, digest: bytes) -> Principal | Awaitable[Principal]:
        if self.claimed(inbound) is None:  # it is for somebody else
            raise Unauthorized(inbound.cid, None, CHALLENGE)
        try:
            presented = self._read(parse_bearer(field), digest)
        except (Malformed, UnacceptableToken) as why:
            raise self._refused(inbound, str(why)) from None
        key = self._keys.find(presented.algorithm, presented.kid)
        if isawaitable(key):
            return self._later(inbound, presented, key)
        return self._verified(inbound, presented, key)

    def _read(self, token: bytes, digest: bytes) -> PresentedToken:
        signed = parse_compact(token)
        algorithm, kid = read_header(signed.header, self._terms)
        claims = decode_object(signed.payload)
        return PresentedToken(signed, algorithm, kid, claims, valid_until(claims, self._terms, self._now()), digest)

    async def _later(
        self, inbound: Message, presented: PresentedToken, key: Awaitable[VerificationKey | None]
    ) -> Principal:
        return self._verified(inbound, presented, await key)

    def _verified(self, inbound: Message, presented: PresentedToken, key: VerificationKey | None) -> Principal:
        """The principal of a token that this key has signed."""
        if key is None:
            raise self._refused(inbound, 'no key is the one that it says it was signed with')
        signed = presented.signed
        if not key.verifies(presented.algorithm, signed.message, signed.signature):
            raise self._refused(inbound, 'its signature is not of the key')
        try:
            principal = self._principal(presented.claims)
        except UnacceptableToken as why:
            raise self._refused(inbound, str(why)) from None
        self._known.keep(presented.digest, principal, min(presented.until, self._now() + self._keys.steady))
        return principal

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        who = username(claims, self._terms)
        principal = principal_of(self._stored, who, MappingProxyType(claims))  # services of many requests share it
        given = roles(claims, self._terms)
        return msgspec.structs.replace(principal, roles=principal.roles | given) if given else principal

    def _refused(self, inbound: Message, why: str) -> Unauthorized:
        self._log.debug('{cid}: JWT definition {name!r} refused a token: {why}', cid=inbound.cid,
                        name=self._stored.name, why=why)  # fmt: skip
        return Unauthorized(inbound.cid, None, REFUSED)


def make_jwt_authenticator(
    stored: Stored, *, fetcher: IFetcher, clock: IReactorTime, offload: Callable[..., Deferred[Any]]
) -> JwtAuthenticator:
    """The check of a definition, with its keys, or on the way to them."""
    definition = stored.value
    if definition.jwks_url:
        return JwtAuthenticator(stored, partial(_published, stored.name, definition.jwks_url, fetcher, clock, offload))
    return JwtAuthenticator(stored, partial(_one_key, definition))


def _published(name: str, url: str, *means: Any) -> PublishedKeySet:
    keys = PublishedKeySet(name, url, *means)
    keys.refresh()
    return keys


def _one_key(definition: Jwt, changed: Callable[[], None]) -> SingleKey:
    """Of a definition that was valid when it was stored; where a newer version is stricter, nobody is admitted."""
    try:
        return SingleKey(
            key_of_pem(definition.public_key) if definition.public_key else key_of_secret(definition.secret)
        )
    except Malformed as wrong:
        JwtAuthenticator._log.error(
            'JWT definition {name!r} admits nobody: its key {wrong}', name=definition.name, wrong=wrong
        )
        return SingleKey(None, str(wrong))
