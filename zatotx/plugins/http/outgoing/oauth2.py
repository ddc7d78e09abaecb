"""OAuth 2.0 as a client: the token of a definition, one for the whole cluster, renewed before its end by one node at a
time.

Redis keeps it, encrypted, and a lease says who renews it. Where Redis is away each worker has a token of its own: it
costs the authorization server a request more, and no call its answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf
from time import time
from typing import Any

import msgspec
from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as Late
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.interfaces.redis import ILease
from zatotx.model.faults import BadGateway, Fault, ServiceUnavailable
from zatotx.plugins.http.client.call import Answer, Fields, Outbound, Timeouts
from zatotx.plugins.http.client.errors import CallFailed
from zatotx.plugins.http.outgoing.addresses import split_url
from zatotx.plugins.http.outgoing.faults import fault_of, late
from zatotx.plugins.http.outgoing.requests import Request
from zatotx.plugins.http.outgoing.tokens import NoToken, Token, asked, fingerprint, granted
from zatotx.schema.security.oauth2_client import OAuth2Client

_REDIS_PATIENCE = 1.0  # seconds: what Redis keeps is a convenience
_PAUSE = 1.0  # seconds after a failure until the server is asked again
_MOST = 256 * 1024  # bytes of its answer
_LEASE = 5.0  # seconds beyond the request that a lease lasts, should its holder die


@frozen(kw_only=True)
class TokenShelf:
    """Where the cluster keeps tokens."""

    keyvalue: Any  # IKeyValue
    leases: Any  # ILeases
    key: Callable[..., str]
    seal: Callable[[str], str]
    unseal: Callable[[str], str]

    async def get(self, name: str) -> Token | None:
        """The token of that name. Raises what Redis fails with."""
        stored = await self.keyvalue.execute('GET', self.key('oauth2', name))
        if not stored:
            return None
        try:
            return msgspec.json.decode(self.unseal(_text(stored)), type=Token)
        except (msgspec.MsgspecError, Fault):  # of another version, or under another key: as if it were not there
            return None

    async def put(self, name: str, token: Token, now: float) -> None:
        """Keep it until its end."""
        life = int((token.ends - now) * 1000)
        if life > 0:
            sealed = self.seal(msgspec.json.encode(token).decode('ascii'))
            await self.keyvalue.execute('SET', self.key('oauth2', name), sealed, 'PX', life)

    def lease(self, name: str, seconds: float) -> Deferred[ILease]:
        """The right to renew it, waited for."""
        lease: Deferred[ILease] = self.leases.acquire(f'oauth2:{name}', ttl=seconds + _LEASE, wait=seconds)
        return lease


@define(eq=False)
class TokenSource:
    """The tokens of one definition in this process. An Authorizer."""

    definition: OAuth2Client
    client: Callable[[Outbound], Deferred[Answer]]
    shelf: TokenShelf | None  # None = there is no Redis
    clock: Any  # IReactorTime
    now: Callable[[], float] = time  # seconds since the epoch
    _token: Token | None = None
    _refused: str = ''  # the key of the last token that a peer did not accept
    _renewing: Deferred[Token] | None = None
    _waiting: list[Deferred[Token]] = field(factory=list)
    _failed: Fault | None = None  # how the last try ended
    _again_at: float = -inf  # when there may be another, on the clock
    _log = Logger()

    @property
    def title(self) -> str:
        return f'Security definition {self.definition.name} (oauth2_client)'

    # Authorizer

    async def credentials(self, request: Request) -> Fields:
        """See Authorizer. Raises Timeout, ServiceUnavailable and BadGateway, naming the definition."""
        token, now = self._token, self.now()
        if token is None or now >= token.ends:
            token = await self._fresh(request)
        elif now >= token.renew_at:
            self._renew()  # those who call meanwhile have the old one
        request.proof = token
        return ((b'Authorization', b'Bearer ' + token.value.encode('ascii')),)

    async def refused(self, request: Request, answer: Answer) -> bool:
        """See Authorizer: a token may have been withdrawn before its end."""
        used: Token = request.proof
        if self._token is used:
            self._token, self._refused = None, used.key
        return self._token is None or self._token.value != used.value

    def accepted(self, answer: Answer) -> None:
        """See Authorizer."""

    # Renewing

    async def _fresh(self, request: Request) -> Token:
        """A token for somebody who has to wait for it."""
        if self._failed is not None and self.clock.seconds() < self._again_at:
            raise type(self._failed)(request.call.cid, self._failed.msg)
        waiting: Deferred[Token] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        self._renew()
        left = max(0.0, request.due - self.clock.seconds())
        try:
            return await waiting.addTimeout(left, self.clock)
        except Late:
            raise late(self.title, request.call.cid, request.seconds) from None
        except Fault as fault:
            raise type(fault)(request.call.cid, fault.msg) from fault

    def _renew(self) -> None:
        """Begin, unless it is under way, or failed a moment ago."""
        if self._renewing is None and self.clock.seconds() >= self._again_at:
            self._renewing = Deferred.fromCoroutine(self._renewed())
            longest = 2 * self.definition.timeout + 3 * _REDIS_PATIENCE  # for whoever has the lease, and for us
            self._renewing.addTimeout(longest, self.clock, self._too_late).addBoth(self._over)

    def _too_late(self, result: object, seconds: float) -> Failure:
        return Failure(late(self.title, '', seconds))

    def _over(self, result: Any) -> None:
        self._renewing = None
        waiting, self._waiting = self._waiting, []
        if isinstance(result, Failure):
            self._again_at = self.clock.seconds() + _PAUSE
            self._failed = self._as_fault(result)
            self._log.warn('{why}', why=self._failed.msg)
            for each in waiting:
                each.errback(self._failed)
            return
        self._failed, self._token = None, result
        for each in waiting:
            each.callback(result)

    def _as_fault(self, failure: Failure) -> Fault:
        error = failure.value
        if isinstance(error, Fault):
            return error
        if isinstance(error, NoToken):
            return BadGateway('', f'{self.title} gives no token: {error}')
        self._log.failure('{title} gives no token', failure, title=self.title)
        return ServiceUnavailable('', f'{self.title} gives no token')

    async def _renewed(self) -> Token:
        """A new token: one that somebody else got meanwhile, or else the server's."""
        name, shelf = fingerprint(self.definition), self.shelf
        if shelf is None:
            return await self._granted()
        try:
            kept: Token | None = await self._patiently(shelf.get(name))
            if kept is not None and self._is_new(kept):
                return kept
        except CancelledError:
            raise
        except Exception:  # Redis is away: whatever it says, there is still the server
            return await self._granted()
        return await self._renewed_by_us(name, shelf)

    async def _renewed_by_us(self, name: str, shelf: TokenShelf) -> Token:
        lease = await self._leased(name, shelf)
        if lease is None:
            return await self._granted()
        try:
            found = await self._found(name, shelf)
            if found is None:
                found = await self._granted()
                await self._kept(name, shelf, found)
            return found
        finally:
            lease.release()

    async def _leased(self, name: str, shelf: TokenShelf) -> ILease | None:
        """The right to renew it; None where nobody can say who has it, so that this worker does it for itself."""
        try:
            return await shelf.lease(name, self.definition.timeout)
        except CancelledError:
            raise
        except Exception as error:
            self._log.info('{title}: this worker renews its token by itself: {why}', title=self.title, why=str(error))
            return None

    async def _found(self, name: str, shelf: TokenShelf) -> Token | None:
        """The one that somebody else got meanwhile, which may be while this one waited for the lease."""
        try:
            kept: Token | None = await self._patiently(shelf.get(name))
        except CancelledError:
            raise
        except Exception:  # Redis is away: whatever it has, there is still the server
            return None
        return kept if kept is not None and self._is_new(kept) else None

    async def _kept(self, name: str, shelf: TokenShelf, token: Token) -> None:
        try:
            await self._patiently(shelf.put(name, token, self.now()))
        except CancelledError:
            raise
        except Exception as error:  # it is good for this worker all the same
            self._log.info('{title}: its token could not be kept in Redis: {why}', title=self.title, why=str(error))

    async def _granted(self) -> Token:
        """The server's. Raises NoToken, and a Fault where it does not answer."""
        definition = self.definition
        fields, body = asked(definition)
        origin, target = split_url(definition.token_url)
        timeouts = Timeouts(queue=inf, connect=inf, first_byte=inf, silence=inf, total=definition.timeout)
        try:
            answer = await self.client(Outbound('POST', origin, target, fields, body, timeouts, most=_MOST))
        except CallFailed as failed:
            self._log.warn('{title}: {why}', title=self.title, why=failed.detail)
            raise fault_of(failed, self.title, '', definition.timeout) from failed
        assert isinstance(answer.body, bytes)
        return granted(answer.head.status, answer.body, self.now())

    def _is_new(self, token: Token) -> bool:
        """Whether a kept token is what is looked for: not at its end, and not one that was refused."""
        return self.now() < token.renew_at and token.key != self._refused

    def _patiently(self, step: Awaitable[Any]) -> Deferred[Any]:
        return Deferred.fromCoroutine(_whole(step)).addTimeout(_REDIS_PATIENCE, self.clock)


async def _whole(step: Awaitable[Any]) -> Any:
    return await step


def _text(stored: str | bytes) -> str:
    return stored if isinstance(stored, str) else stored.decode('ascii')
