"""Test doubles of authenticators, which are controlled by the test."""

from __future__ import annotations

from collections.abc import Awaitable, Hashable
from typing import Any

from twisted.internet.defer import Deferred

from zatotx.interfaces.pipeline import IAuthenticationPolicy, NeedsBody
from zatotx.model.errors import ServiceError, Unauthorized
from zatotx.model.message import Message, Principal
from zatotx.pipeline.security.authenticator import ANY_DEFINITION, make_principal
from zatotx.schema.snapshot import StoredObject


class FieldAuthenticator:
    """A test double of an authenticator. It accepts requests that contain the definition's password in a header field.

    While `is_delayed` is true, checks wait until the test fires the Deferreds in `waiting`. `error` is raised instead
    of checking.
    """

    def __init__(self, stored: StoredObject, field: bytes = b'x-key', *, needs_body: bool = False) -> None:
        self._principal = make_principal(stored)
        self._password = stored.value.password
        self._field = field
        self.needs_body = needs_body
        self.challenge = f'{field.decode()} {stored.name}'
        self.scheme: Hashable = (field, needs_body)
        self.lookup_key: Hashable = ANY_DEFINITION
        self.call_count = 0
        self.error: ServiceError | None = None
        self.is_delayed = False
        self.waiting: list[Deferred[Any]] = []

    def extract_key(self, message: Message) -> Hashable | None:
        return ANY_DEFINITION if self._field in message.headers else None

    def check(self, message: Message) -> Principal | Awaitable[Principal]:
        self.call_count += 1
        if self.is_delayed:
            return self._check_later(message)
        return self._check_now(message)

    async def _check_later(self, message: Message) -> Principal:
        self.waiting.append(Deferred())
        await self.waiting[-1]
        return self._check_now(message)

    def _check_now(self, message: Message) -> Principal:
        if self.error is not None:
            raise self.error
        if message.headers.get(self._field, b'').decode() != self._password:
            raise Unauthorized(message.cid, None, self.challenge)
        return self._principal


async def authenticate(policy: IAuthenticationPolicy, message: Message) -> Principal:
    """Authenticate a message with a policy, reading the body if necessary, and return the principal. Raises the errors
    of the policy."""
    result: Any = await _await_result(policy.check(message))
    if isinstance(result, NeedsBody):
        result = await _await_result(policy.check_body(message))
    assert isinstance(result, Principal)
    return result


async def _await_result(checked: Any) -> Any:
    return checked if isinstance(checked, Principal | NeedsBody) else await checked
