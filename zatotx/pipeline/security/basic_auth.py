"""HTTP Basic authentication (RFC 7617) against argon2id hashes.

A hash costs tens of milliseconds by design, so it is verified in a thread, once for each credentials; after that a
keyed digest of the header is enough. The password itself is never kept. The key lives and dies with the process.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from zatotx.model.errors import Unauthorized
from zatotx.model.message import Message, Principal
from zatotx.pipeline.security.authenticator import NOBODY, principal_of
from zatotx.pipeline.security.challenges import challenge_of
from zatotx.pipeline.security.password_verifier import PasswordVerifier
from zatotx.pipeline.security.secret_comparison import network_of_caller
from zatotx.schema.dual_secret import hash_of
from zatotx.schema.snapshot import Stored
from zatotx.wire.http.authorization import Malformed, parse_basic

REMEMBERED = 10_000  # verified credentials kept a definition

_Key = tuple[bytes, str]  # the digest of credentials, and the network that they come from


class _Login:
    """Credentials under verification, and the requests that wait for the result: a client that opens many connections
    at once pays for one hash."""

    __slots__ = ('digest', 'hashing', 'network', 'password', 'requests', 'under_way', 'username')

    def __init__(self, digest: bytes, network: str, username: str, password: str) -> None:
        self.digest = digest
        self.network = network
        self.username = username
        self.password = password
        self.requests: dict[Deferred[bool], None] = {}
        self.under_way: Deferred[bool] | None = None
        self.hashing = False  # a thread is at it, which cannot be stopped

    def gave_up(self, request: Deferred[bool]) -> None:
        """A request was cancelled: its client hung up, or its deadline has passed. Where it was the last one, nothing
        is computed that has not begun."""
        self.requests.pop(request, None)
        if not self.requests and not self.hashing and self.under_way is not None:
            self.under_way.cancel()


class BasicAuthAuthenticator:
    """The check of one Basic auth definition."""

    needs_body = False
    sort = 'basic_auth'
    __slots__ = ('_addresses', '_attempts', '_digest', '_hashed', '_known', '_logins', '_principal', '_slowed',
                 '_username', '_verifier', 'challenge', 'claim')  # fmt: skip

    def __init__(self, verifier: PasswordVerifier, stored: Stored) -> None:
        definition = stored.value
        self._verifier = verifier
        self._digest = verifier.guesses.digest
        self._username = definition.username.encode('utf-8')
        self._hashed = hash_of(definition.password)
        self.challenge = challenge_of(stored.type, definition)
        self.claim = definition.username
        self._principal = principal_of(stored)
        attempts = self._attempts = verifier.guesses.attempts_at(f'{self.sort} {self.claim}')
        self._slowed, self._addresses = attempts.slowed, attempts.addresses
        self._known: dict[bytes, None] = {}
        self._logins: dict[_Key, _Login] = {}

    def claimed(self, inbound: Message) -> str | None:
        """The user name."""
        header = inbound.headers.get(b'authorization')
        if header is None or header[:6].lower() != b'basic ':
            return None
        try:
            return parse_basic(header)[0]
        except Malformed:
            return NOBODY

    def check(self, inbound: Message) -> Principal | Awaitable[Principal]:
        """The principal at once for credentials seen before, else after the hash was verified in a thread. Raises
        Unauthorized."""
        http = inbound.http
        if http is not None and http.admitted_by is self:
            return self._principal
        header = inbound.headers.get(b'authorization')
        if header is None:
            raise self._refused(inbound)
        digest = self._digest(header)
        delay = self._attempts.delay(inbound) if self._slowed else 0.0
        if delay <= 0 and digest in self._known:
            if http is not None and http.peer in self._addresses:
                http.admitted_by = self  # `Attempts.admitted`, written out
            else:
                self._attempts.admitted(inbound, self)
            return self._principal
        return self._first_time(inbound, header, digest, delay)

    async def _first_time(self, inbound: Message, header: bytes, digest: bytes, delay: float) -> Principal:
        try:
            username, password = parse_basic(header)
        except Malformed:
            raise self._refused(inbound) from None
        network = network_of_caller(inbound)
        if delay > 0:
            self._verifier.guesses.enter(network, delay)
        try:
            right = await self._settled(_Login(digest, network, username, password), delay)
        finally:
            if delay > 0:
                self._verifier.guesses.leave(network)
        if not right:
            raise self._refused(inbound)
        self._attempts.admitted(inbound, self)
        return self._principal

    def _settled(self, login: _Login, delay: float) -> Deferred[bool]:
        """Fires with whether the credentials are right; with what others of the same network wait for already."""
        key = login.digest, login.network
        known = self._logins.setdefault(key, login)
        request: Deferred[bool] = Deferred(known.gave_up)
        known.requests[request] = None
        if known is login:
            login.under_way = Deferred.fromCoroutine(self._verify(login, delay))
            login.under_way.addBoth(self._settle, login)
        return request

    async def _verify(self, login: _Login, delay: float) -> bool:
        attempts, network = self._attempts, login.network
        counted = delay > 0
        if counted:
            attempts.failed(network)
            await self._verifier.guesses.pause(delay)
        try:
            right = login.digest in self._known or await self._verifier.verified(self._hashed, login)
        except CancelledError:
            if not counted:
                attempts.failed(network)  # hanging up does not make it no guess
            raise
        # The hash is verified for an unknown user too: it must cost what a wrong password costs.
        if hmac.compare_digest(login.username.encode('utf-8'), self._username) and right and self._hashed:
            if counted:
                attempts.forgive(network)
            return True
        if not counted:
            attempts.failed(network)
        return False

    def _settle(self, result: Any, login: _Login) -> None:
        if result is True:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[login.digest] = None
        del self._logins[login.digest, login.network]
        requests, login.requests = tuple(login.requests), {}
        for request in requests:
            request.callback(result)

    def _refused(self, inbound: Message) -> Unauthorized:
        return Unauthorized(inbound.cid, None, self.challenge)
