"""HTTP Basic authentication (RFC 7617) against argon2id hashes.

A hash costs tens of milliseconds by design, so it is verified in a thread, once for each credentials; after that a
keyed digest of the header is enough. The password itself is never kept. The key lives and dies with the process.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from functools import partial
from hashlib import blake2b
from os import urandom
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from zatotx.exchange.security.check import NOBODY, principal_of
from zatotx.model.faults import ServiceUnavailable, Unauthorized
from zatotx.model.message import Inbound, Principal
from zatotx.rules.throttle import Throttle
from zatotx.schema.both_forms import hash_of
from zatotx.schema.snapshot import Stored
from zatotx.wire.credentials import Malformed, basic

REMEMBERED = 10_000  # verified credentials kept a definition
AT_ONCE = 2  # hashes verified at the same time: each takes 19 MiB and a core
WAITING = 100  # requests that may wait for that; more are told to come back
MOST = 1_000  # logins under way, those included that wait because others of their address failed

# What is verified where a definition has no password yet: as costly as any other, matched by nothing.
_NO_PASSWORD = '$argon2id$v=19$m=19456,t=2,p=1$emF0b3R4emF0b3R4emE$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'


def verify(hashed: str, password: str) -> bool:
    """Whether the password is the one that was hashed. Slow by design: for threads."""
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return PasswordHasher().verify(hashed or _NO_PASSWORD, password)
    except (VerificationError, InvalidHashError):
        return False


@define
class Verifier:
    """Verifies credentials off the reactor and slows guessers down; shared by all Basic auth definitions."""

    clock: IReactorTime
    offload: Callable[..., Deferred[Any]]
    throttle: Throttle = field(factory=Throttle)
    _keyed: Any = field(factory=lambda: blake2b(key=urandom(32), digest_size=16), repr=False)
    _turn: DeferredSemaphore = field(factory=partial(DeferredSemaphore, AT_ONCE))
    _under_way: int = 0

    def digest(self, header: bytes) -> bytes:
        """What stands for credentials in the caches."""
        keyed = self._keyed.copy()  # half the price of taking up the key each time
        keyed.update(header)
        digest: bytes = keyed.digest()
        return digest

    async def verified(self, hashed: str, password: str, address: str) -> bool:
        """Whether the password is right, after the wait that earlier failures of this address have earned. Raises
        ServiceUnavailable: each login that waits holds a place of the node, and guessers must not get them all."""
        if len(self._turn.waiting) >= WAITING or self._under_way >= MOST:
            raise ServiceUnavailable(None, 'Too many logins are being verified, try again')
        self._under_way += 1
        try:
            delay = self.throttle.delay(address, self.clock.seconds())
            if delay > 0:
                await deferLater(self.clock, delay)
            return bool(await self._turn.run(self.offload, verify, hashed, password))
        finally:
            self._under_way -= 1

    def failed(self, address: str) -> None:
        self.throttle.failed(address, self.clock.seconds())


class BasicAuthCheck:
    """The check of one Basic auth definition."""

    needs_body = False
    sort = 'basic_auth'
    __slots__ = ('_digest', '_hashed', '_known', '_principal', '_username', '_verifier', '_waiting', 'challenge',
                 'claim')  # fmt: skip

    def __init__(self, verifier: Verifier, stored: Stored) -> None:
        definition = stored.value
        realm = definition.realm.replace('\\', '\\\\').replace('"', '\\"')
        self._verifier = verifier
        self._digest = verifier.digest
        self._username = definition.username.encode('utf-8')
        self._hashed = hash_of(definition.password)
        self.challenge = f'Basic realm="{realm}"'
        self.claim = definition.username
        self._principal = principal_of(stored)
        self._known: dict[bytes, None] = {}
        self._waiting: dict[bytes, list[Deferred[bool]]] = {}  # for one verification under way

    def claimed(self, inbound: Inbound) -> str | None:
        """The user name."""
        header = inbound.headers.get(b'authorization')
        if header is None or header[:6].lower() != b'basic ':
            return None
        try:
            return basic(header)[0]
        except Malformed:
            return NOBODY

    def check(self, inbound: Inbound) -> Principal | Awaitable[Principal]:
        """The principal at once for credentials seen before, else after the hash was verified in a thread. Raises
        Unauthorized."""
        header = inbound.headers.get(b'authorization')
        if header is None:
            raise self._refused(inbound)
        digest = self._digest(header)
        if digest in self._known:
            return self._principal
        return self._first_time(inbound, header, digest)

    async def _first_time(self, inbound: Inbound, header: bytes, digest: bytes) -> Principal:
        try:
            username, password = basic(header)
        except Malformed:
            raise self._refused(inbound) from None
        address = inbound.http.peer if inbound.http is not None else ''
        waiting: Deferred[bool] = Deferred()
        crowd = self._waiting.setdefault(digest, [])
        crowd.append(waiting)
        if len(crowd) == 1:  # a client that opens many connections at once pays for one hash
            verifying = Deferred.fromCoroutine(self._verify(username, password, address))
            verifying.addBoth(self._settle, digest)
        if not await waiting:
            raise self._refused(inbound)
        return self._principal

    async def _verify(self, username: str, password: str, address: str) -> bool:
        # The hash is verified for an unknown user too: it must cost what a wrong password costs.
        right = await self._verifier.verified(self._hashed, password, address)
        if hmac.compare_digest(username.encode('utf-8'), self._username) and right and self._hashed:
            return True
        self._verifier.failed(address)
        return False

    def _settle(self, result: Any, digest: bytes) -> None:
        if result is True:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[digest] = None
        for waiting in self._waiting.pop(digest):
            if not waiting.called:  # else its request was cancelled
                waiting.callback(result)

    def _refused(self, inbound: Inbound) -> Unauthorized:
        return Unauthorized(inbound.cid, None, self.challenge)
