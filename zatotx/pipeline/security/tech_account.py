"""Technical accounts: X-Zato-User and X-Zato-Password (feature map 4)."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial

from zatotx.model.errors import Unauthorized
from zatotx.model.message import Message, Principal
from zatotx.pipeline.security.authenticator import principal_of
from zatotx.pipeline.security.challenges import challenge_of
from zatotx.pipeline.security.secret_comparison import SecretComparison, equal_secrets
from zatotx.schema.snapshot import Stored

_USER, _PASSWORD = b'x-zato-user', b'x-zato-password'


class TechAccountAuthenticator:
    """The check of one technical account. User name and password are compared as one, so that an unknown user takes as
    long as a wrong password."""

    needs_body = False
    sort = 'tech_account'
    challenge = challenge_of(sort)
    __slots__ = ('_attempts', '_digest', '_expected', '_principal', 'claim')

    def __init__(self, guesses: SecretComparison, stored: Stored) -> None:
        definition = stored.value
        username = definition.username or definition.name
        self.claim = username.encode('utf-8')
        self._digest = guesses.digest
        self._attempts = guesses.attempts_at(f'{self.sort} {username}')
        self._principal = principal_of(stored, username)
        password = definition.password.encode('utf-8')
        self._expected = guesses.digest(self.claim, password) if password else b''

    def claimed(self, inbound: Message) -> bytes | None:
        """The user name."""
        return inbound.headers.get(_USER)

    def check(self, inbound: Message) -> Principal | Awaitable[Principal]:
        """The principal, at once. Raises Unauthorized, or returns what does so later."""
        http = inbound.http
        if http is not None and http.admitted_by is self:
            return self._principal
        user, password = inbound.headers.get(_USER), inbound.headers.get(_PASSWORD)
        if user is None or password is None:
            raise Unauthorized(inbound.cid, None, self.challenge)
        attempts, presented = self._attempts, self._digest(user, password)
        if attempts.slowed and (delay := attempts.delay(inbound)) > 0:
            return attempts.wait(inbound, delay, partial(self._compared, inbound, presented))
        return self._compared(inbound, presented)

    def _compared(self, inbound: Message, presented: bytes) -> Principal:
        if not equal_secrets(presented, self._expected):
            raise self._attempts.refuse(inbound, Unauthorized(inbound.cid, None, self.challenge))
        self._attempts.admitted(inbound, self)
        return self._principal
