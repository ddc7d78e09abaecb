"""User name and password in an XML body, found by XPath (feature map 4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred

from zatotx.model.errors import Unauthorized
from zatotx.model.message import Message, Principal
from zatotx.pipeline.security.authenticator import ANY_OF_THEM, principal_of
from zatotx.pipeline.security.challenges import challenge_of
from zatotx.pipeline.security.secret_comparison import SecretComparison, equal_secrets
from zatotx.schema.snapshot import Stored
from zatotx.wire.xml.parser import LARGE, is_element
from zatotx.wire.xml.xpath import TextPath

Offload = Callable[..., Deferred[Any]]


class XPathAuthenticator:
    """The check of one XPath definition, on channels that read XML."""

    needs_body = True
    sort = 'xpath'
    claim = ANY_OF_THEM
    challenge = challenge_of(sort)
    __slots__ = ('_attempts', '_digest', '_expected', '_offload', '_password', '_principal', '_username')

    def __init__(self, guesses: SecretComparison, offload: Offload, stored: Stored) -> None:
        definition = stored.value
        self._digest = guesses.digest
        self._attempts = guesses.attempts_at(self.sort)
        self._offload = offload
        self._principal = principal_of(stored)
        self._username = TextPath(definition.username_expr, definition.namespaces)
        self._password = TextPath(definition.password_expr, definition.namespaces)
        password = definition.password.encode('utf-8')
        self._expected = self._digest(definition.username.encode('utf-8'), password) if password else b''

    def claimed(self, inbound: Message) -> str | None:
        """Any of them, where there is XML."""
        return ANY_OF_THEM if is_element(getattr(inbound, 'parsed', None)) else None

    def check(self, inbound: Message) -> Principal | Awaitable[Principal]:
        """The principal, at once unless the document is large. Raises Unauthorized, or returns what does so later."""
        if self.claimed(inbound) is None:
            raise self._refused(inbound)
        attempts = self._attempts
        if attempts.slowed and (delay := attempts.delay(inbound)) > 0:
            return attempts.wait(inbound, delay, partial(self._searched, inbound))
        return self._searched(inbound)

    def _searched(self, inbound: Message) -> Principal | Awaitable[Principal]:
        if isinstance(inbound.body, bytes) and len(inbound.body) > LARGE:
            return self._of_large(inbound)
        return self._judged(inbound, self._found(inbound.parsed))

    async def _of_large(self, inbound: Message) -> Principal:
        return self._judged(inbound, await self._offload(self._found, inbound.parsed))

    def _found(self, root: Any) -> bytes:
        """The digest of what the body has, which is nobody's where it lacks one of the two."""
        username, password = self._username.find(root), self._password.find(root)
        if username is None or password is None:
            return b''
        return self._digest(username.encode('utf-8'), password.encode('utf-8'))

    def _judged(self, inbound: Message, found: bytes) -> Principal:
        if not found:
            raise self._refused(inbound)
        if not equal_secrets(found, self._expected):
            raise self._attempts.refuse(inbound, self._refused(inbound))
        self._attempts.admitted(inbound)
        return self._principal

    def _refused(self, inbound: Message) -> Unauthorized:
        return Unauthorized(inbound.cid, None, self.challenge)
