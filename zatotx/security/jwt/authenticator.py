"""Authenticates callers by JSON Web Tokens (RFC 7519), sent as bearer tokens (RFC 6750).

A token's claims are checked first and its signature last, in the reactor's thread: depending on the algorithm this
takes 30 to 700 microseconds, less than a thread switch would delay other requests. For a token seen before, only a
digest is computed. All rejected tokens cause the same response; the reason is logged at level debug.
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

from zatotx.interfaces.outgoing import IFetcher
from zatotx.model.errors import Unauthorized
from zatotx.model.message import Message, Principal
from zatotx.pipeline.security.authenticator import (
    ANY_DEFINITION,
    AuthenticationDependencies,
    PrincipalCache,
    make_principal,
)
from zatotx.rules.security.jwt_validation import (
    JwtRequirements,
    TokenRejected,
    read_token_header,
    validate_token_claims,
)
from zatotx.rules.security.jwt_validation import token_roles as roles
from zatotx.rules.security.jwt_validation import token_username as username
from zatotx.schema.snapshot import StoredObject
from zatotx.security.jwt import CHALLENGE, Jwt
from zatotx.security.jwt.jwks import PublishedKeySet
from zatotx.wire.http.authentication import parse_bearer
from zatotx.wire.json_codec import decode_object
from zatotx.wire.jwk_and_jws import SignedToken, VerificationKey, key_from_pem, key_from_secret, parse_compact_jws
from zatotx.wire.malformed import Malformed

CACHE_SIZE = 5_000  # verified tokens cached per definition: a few kilobytes each
INVALID_TOKEN_CHALLENGE = f'{CHALLENGE}, error="invalid_token"'


class KeySource(Protocol):
    """The source of the verification keys of a JWT definition."""

    @property
    def trust_time(self) -> float: ...  # seconds for which a verified token needs no second verification

    @property
    def problem(self) -> str: ...  # why there are no keys or no new ones; '' = no problem

    def find(self, algorithm: str, kid: str | None) -> VerificationKey | Awaitable[VerificationKey | None] | None: ...


class SharedKeySource:
    """A key source with one key, which is part of the definition. The key ID in a token is ignored."""

    trust_time = inf

    def __init__(self, key: VerificationKey | None, problem: str = '') -> None:
        self._key = key
        self.problem = problem

    def find(self, algorithm: str, kid: str | None) -> VerificationKey | None:
        """Return the key for any algorithm: the key itself checks which ones it supports."""
        return self._key


class UnverifiedToken(msgspec.Struct, frozen=True):
    """A token with valid claims whose signature has not been verified yet."""

    signed: SignedToken
    algorithm: str
    kid: str | None
    claims: Mapping[str, Any]
    expires_at: float
    digest: bytes


class JwtAuthenticator:
    """Authenticates callers by one JWT definition. `now` returns the seconds since 1970."""

    needs_body = False
    scheme = 'jwt'
    lookup_key = ANY_DEFINITION
    challenge = CHALLENGE
    _log = Logger()

    def __init__(
        self,
        stored: StoredObject,
        make_key_source: Callable[[Callable[[], None]], KeySource],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._stored = stored
        self._terms = jwt_requirements(stored.value)
        self._known: PrincipalCache[bytes] = PrincipalCache(CACHE_SIZE)
        self._keys = make_key_source(self._known.clear)
        self._now = now
        self._keyed_hash = blake2b(key=urandom(32), digest_size=16)

    def extract_key(self, message: Message) -> str | None:
        """Return ANY_OF_THEM if there is a bearer token."""
        field = message.headers.get(b'authorization')
        return None if field is None or field[:7].lower() != b'bearer ' else ANY_DEFINITION

    def check(self, message: Message) -> Principal | Awaitable[Principal]:
        """Return the principal, at once unless keys must be fetched. Raises Unauthorized, or ServiceUnavailable while
        there are no keys."""
        field = message.headers.get(b'authorization')
        if field is None:
            raise Unauthorized(message.cid, None, CHALLENGE)
        keyed = self._keyed_hash.copy()
        keyed.update(field)
        digest = keyed.digest()
        known = self._known.get(digest, self._now())
        return self._check_new(message, field, digest) if known is None else known

    def findings(self) -> Iterator[str]:
        """Yield a finding if there are no keys or no new ones."""
        problem = self._keys.problem
        if problem:
            yield f'JWT definition {self._stored.name!r} has no keys, or only outdated ones: {problem}'

    def _check_new(self, message: Message, field: bytes, digest: bytes) -> Principal | Awaitable[Principal]:
        if self.extract_key(message) is None:  # another authentication scheme
            raise Unauthorized(message.cid, None, CHALLENGE)
        try:
            presented = self._parse(parse_bearer(field), digest)
        except (Malformed, TokenRejected) as reason:
            raise self._reject(message, str(reason)) from None
        key = self._keys.find(presented.algorithm, presented.kid)
        if isawaitable(key):
            return self._verify_later(message, presented, key)
        return self._verify(message, presented, key)

    def _parse(self, token: bytes, digest: bytes) -> UnverifiedToken:
        signed = parse_compact_jws(token)
        algorithm, kid = read_token_header(signed.header, self._terms)
        claims = decode_object(signed.payload)
        return UnverifiedToken(
            signed, algorithm, kid, claims, validate_token_claims(claims, self._terms, self._now()), digest
        )

    async def _verify_later(
        self, message: Message, presented: UnverifiedToken, key: Awaitable[VerificationKey | None]
    ) -> Principal:
        return self._verify(message, presented, await key)

    def _verify(self, message: Message, presented: UnverifiedToken, key: VerificationKey | None) -> Principal:
        """Verify the signature with this key, and return the token's principal."""
        if key is None:
            raise self._reject(message, 'no key matches the one that the token names')
        signed = presented.signed
        if not key.verifies(presented.algorithm, signed.signed_data, signed.signature):
            raise self._reject(message, 'its signature does not match the key')
        try:
            principal = self._principal(presented.claims)
        except TokenRejected as reason:
            raise self._reject(message, str(reason)) from None
        self._known.store(presented.digest, principal, min(presented.expires_at, self._now() + self._keys.trust_time))
        return principal

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        token_username = username(claims, self._terms)
        # shared by the services of many requests
        principal = make_principal(self._stored, token_username, MappingProxyType(claims))
        token_roles = roles(claims, self._terms)
        return msgspec.structs.replace(principal, roles=principal.roles | token_roles) if token_roles else principal

    def _reject(self, message: Message, reason: str) -> Unauthorized:
        self._log.debug('{cid}: JWT definition {name!r} refused a token: {why}', cid=message.cid,
                        name=self._stored.name, why=reason)  # fmt: skip
        return Unauthorized(message.cid, None, INVALID_TOKEN_CHALLENGE)


def jwt_requirements(definition: Jwt) -> JwtRequirements:
    """Return the requirements that a JWT definition places on tokens."""
    return JwtRequirements(
        algorithms=frozenset(definition.algorithms), issuer=definition.issuer,
        audience=frozenset(definition.audience), leeway=definition.leeway, require_exp=definition.require_exp,
        username_claim=definition.username_claim, roles_claim=definition.roles_claim,
    )  # fmt: skip


def make_authenticator(stored: StoredObject, dependencies: AuthenticationDependencies) -> JwtAuthenticator:
    """Create the authenticator of a JWT definition."""
    return make_jwt_authenticator(
        stored, fetcher=dependencies.fetcher, clock=dependencies.reactor, offload=dependencies.offload
    )


def make_jwt_authenticator(
    stored: StoredObject, *, fetcher: IFetcher, clock: IReactorTime, offload: Callable[..., Deferred[Any]]
) -> JwtAuthenticator:
    """Create the authenticator of a JWT definition with its keys. If the keys are published at a URL, the function
    starts to fetch them."""
    definition = stored.value
    if definition.jwks_url:
        return JwtAuthenticator(
            stored, partial(_published_keys, stored.name, definition.jwks_url, fetcher, clock, offload)
        )
    return JwtAuthenticator(stored, partial(_single_key, definition))


def _published_keys(name: str, url: str, *dependencies: Any) -> PublishedKeySet:
    keys = PublishedKeySet(name, url, *dependencies)
    keys.refresh()
    return keys


def _single_key(definition: Jwt, changed: Callable[[], None]) -> SharedKeySource:
    """Create the key of a definition that was valid when it was stored. If a newer version is stricter, every token is
    rejected."""
    try:
        return SharedKeySource(
            key_from_pem(definition.public_key) if definition.public_key else key_from_secret(definition.secret)
        )
    except Malformed as error:
        JwtAuthenticator._log.error(
            'JWT definition {name!r} rejects all tokens: its key {problem}', name=definition.name, problem=error
        )
        return SharedKeySource(None, str(error))
