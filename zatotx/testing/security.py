"""Doubles around the guard: definitions whose checks do what a test says."""

from __future__ import annotations

from collections.abc import Awaitable, Hashable
from typing import Any

from twisted.internet.defer import Deferred

from zatotx.interfaces.pipeline import IAuthenticationPolicy, NeedsBody
from zatotx.model.errors import ServiceError, Unauthorized
from zatotx.model.message import Message, Principal
from zatotx.pipeline.security.authenticator import ANY_OF_THEM, principal_of
from zatotx.schema.snapshot import Stored


class FieldAuthenticator:
    """Admits whoever has the definition's password in a header field. `waits`: says so only when the test lets it;
    `fault`: what it raises instead of saying anything."""

    def __init__(self, stored: Stored, field: bytes = b'x-key', *, needs_body: bool = False) -> None:
        self._principal = principal_of(stored)
        self._password = stored.value.password
        self._field = field
        self.needs_body = needs_body
        self.challenge = f'{field.decode()} {stored.name}'
        self.sort: Hashable = (field, needs_body)
        self.claim: Hashable = ANY_OF_THEM
        self.asked = 0
        self.fault: ServiceError | None = None
        self.waits = False
        self.waiting: list[Deferred[Any]] = []

    def claimed(self, inbound: Message) -> Hashable | None:
        return ANY_OF_THEM if self._field in inbound.headers else None

    def check(self, inbound: Message) -> Principal | Awaitable[Principal]:
        self.asked += 1
        if self.waits:
            return self._later(inbound)
        return self._at_once(inbound)

    async def _later(self, inbound: Message) -> Principal:
        self.waiting.append(Deferred())
        await self.waiting[-1]
        return self._at_once(inbound)

    def _at_once(self, inbound: Message) -> Principal:
        if self.fault is not None:
            raise self.fault
        if inbound.headers.get(self._field, b'').decode() != self._password:
            raise Unauthorized(inbound.cid, None, self.challenge)
        return self._principal


async def admitted(guard: IAuthenticationPolicy, inbound: Message) -> Principal:
    """Whom the guard lets in, by the body where it must. Raises what the guard raises."""
    found: Any = await _waited(guard.check(inbound))
    if isinstance(found, NeedsBody):
        found = await _waited(guard.check_body(inbound))
    assert isinstance(found, Principal)
    return found


async def _waited(checked: Any) -> Any:
    return checked if isinstance(checked, Principal | NeedsBody) else await checked
