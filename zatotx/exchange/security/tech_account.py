"""Technical accounts: X-Zato-User and X-Zato-Password (feature map 4)."""

from __future__ import annotations

from collections.abc import Awaitable

from zatotx.exchange.security.check import principal_of
from zatotx.exchange.security.guesses import Guesses, same
from zatotx.model.faults import Unauthorized
from zatotx.model.message import Inbound, Principal
from zatotx.schema.snapshot import Stored

_USER, _PASSWORD = b'x-zato-user', b'x-zato-password'


class TechAccountCheck:
    """The check of one technical account. User name and password are compared as one, so that an unknown user takes as
    long as a wrong password."""

    needs_body = False
    sort = 'tech_account'
    challenge = 'zato-tech-acc'
    __slots__ = ('_expected', '_guesses', '_principal', 'claim')

    def __init__(self, guesses: Guesses, stored: Stored) -> None:
        definition = stored.value
        username = definition.username or definition.name
        self.claim = username.encode('utf-8')
        self._guesses = guesses
        self._principal = principal_of(stored, username)
        password = definition.password.encode('utf-8')
        self._expected = guesses.digest(self.claim, password) if password else b''

    def claimed(self, inbound: Inbound) -> bytes | None:
        """The user name."""
        return inbound.headers.get(_USER)

    def check(self, inbound: Inbound) -> Principal | Awaitable[Principal]:
        """The principal, at once. Raises Unauthorized, or returns what does so later."""
        user, password = inbound.headers.get(_USER), inbound.headers.get(_PASSWORD)
        if user is None or password is None:
            raise Unauthorized(inbound.cid, None, self.challenge)
        if same(self._guesses.digest(user, password), self._expected):
            return self._principal
        return self._guesses.refuse(inbound, Unauthorized(inbound.cid, None, self.challenge))
