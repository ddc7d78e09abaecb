"""WS-Security: UsernameTokens of SOAP messages (feature map 4, contract §4).

Whatever is wrong with a token, its sender reads the same, and the log says what, where it is told to. Where Redis
cannot say whether a nonce was used before, nobody is let in: 503.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from hashlib import blake2b

from attrs import define
from twisted.logger import Logger

from zatotx.interfaces.nonces import INonces
from zatotx.model.errors import ServiceUnavailable, Timeout, Unauthorized
from zatotx.model.message import Message, Principal
from zatotx.pipeline.security.authenticator import ANY_OF_THEM, NOBODY, principal_of
from zatotx.pipeline.security.challenges import challenge_of
from zatotx.pipeline.security.secret_comparison import SecretComparison
from zatotx.rules.security.wss import OneTimeUse, TokenRefused, check_token, wss_terms
from zatotx.schema.snapshot import Stored
from zatotx.wire.soap import envelope
from zatotx.wire.soap.envelope import VERSIONS
from zatotx.wire.soap.ws_security import FAILED, Malformed, SecurityHeader, read

_AWAY = 'It cannot be said now whether a nonce was used before'


class FailedAuthentication(Unauthorized):
    """In the words of WS-Security (SOAP Message Security §12), on SOAP channels."""

    soap_subcodes = (FAILED,)


@define
class WssDependencies:
    """What all these checks of a node share. `now`: seconds since 1970."""

    guesses: SecretComparison
    nonces: INonces
    now: Callable[[], float] = time.time


class WssAuthenticator:
    """The check of one WS-Security definition."""

    needs_body = True
    sort = 'wss'
    challenge = challenge_of(sort)
    __slots__ = ('_attempts', '_id', '_means', '_principal', '_terms', 'claim')
    _log = Logger()

    def __init__(self, means: WssDependencies, stored: Stored) -> None:
        self._means = means
        self._terms = wss_terms(stored.value)
        self._principal = principal_of(stored)
        self._id = b'%d ' % stored.id  # what one definition has used is not used for another one
        self.claim = stored.value.username
        self._attempts = means.guesses.attempts_at(f'{self.sort} {self.claim}')

    def claimed(self, inbound: Message) -> str | None:
        """The user name; with several tokens any may be meant."""
        try:
            security = security_of(inbound)
        except Malformed:
            return NOBODY
        if security is None:
            return None
        return security.tokens[0].username if len(security.tokens) == 1 else ANY_OF_THEM

    def check(self, inbound: Message) -> Principal | Awaitable[Principal]:
        """The principal, once Redis has said that the nonce is new. Raises Unauthorized, or returns what raises that
        later; ServiceUnavailable where Redis cannot say."""
        try:
            security = security_of(inbound)
        except Malformed as why:
            raise self._refused(inbound, str(why)) from None
        if security is None:
            raise self._refused(inbound, 'there is no Security header for us')
        attempts = self._attempts
        if attempts.slowed and (delay := attempts.delay(inbound)) > 0:
            return attempts.wait(inbound, delay, partial(self._judged, inbound, security))
        return self._judged(inbound, security)

    def _judged(self, inbound: Message, security: SecurityHeader) -> Principal | Awaitable[Principal]:
        try:
            once = check_token(security, self._terms, self._means.now())
        except TokenRefused as why:
            refused = self._refused(inbound, str(why))
            raise self._attempts.refuse(inbound, refused) if why.guessed else refused from None
        if once.nonce:
            return self._used_once(inbound, once)
        self._attempts.admitted(inbound)
        return self._principal

    async def _used_once(self, inbound: Message, once: OneTimeUse) -> Principal:
        name = blake2b(self._id + once.nonce, digest_size=20).hexdigest()
        try:
            first = await self._means.nonces.use(name, once.ttl)
        except (ServiceUnavailable, Timeout) as why:
            self._log.debug('{cid}: {what}: {why}', cid=inbound.cid, what=_AWAY, why=why.msg)
            raise ServiceUnavailable(inbound.cid, _AWAY) from why
        if not first:
            raise self._refused(inbound, 'its Nonce was used before')
        self._attempts.admitted(inbound)
        return self._principal

    def _refused(self, inbound: Message, why: str) -> FailedAuthentication:
        self._log.debug('{cid}: WS-Security definition {name!r} refuses: {why}', cid=inbound.cid,
                        name=self._principal.name, why=why)
        return FailedAuthentication(inbound.cid, None, self.challenge)


def security_of(inbound: Message) -> SecurityHeader | None:
    """The Security header for us; None where the message has none, or is none of SOAP. Raises Malformed."""
    message = getattr(inbound, 'soap', None)
    if message is not None:
        return read(message.headers, VERSIONS[message.version]) if message.headers else None
    root = getattr(inbound, 'parsed', None)  # an envelope on a channel of plain XML
    version = envelope.version_of(root) if hasattr(root, 'tag') else None
    return None if version is None else read(envelope.read(root).headers, version)
