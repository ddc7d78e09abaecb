"""API keys, in a header field or in the query (feature map 4)."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial

from zatotx.model.errors import Unauthorized
from zatotx.model.message import Message, Principal
from zatotx.pipeline.security.authenticator import NOBODY, principal_of
from zatotx.pipeline.security.challenges import challenge_of
from zatotx.pipeline.security.secret_comparison import SecretComparison, equal_secrets
from zatotx.schema.snapshot import Stored
from zatotx.wire.http.query import Malformed, query_parameter

_NOBODY = NOBODY.encode()


class ApiKeyAuthenticator:
    """The check of one API key definition."""

    needs_body = False
    challenge = challenge_of('apikey')
    __slots__ = ('_attempts', '_digest', '_header', '_principal', '_query', 'claim', 'sort')

    def __init__(self, guesses: SecretComparison, stored: Stored) -> None:
        definition = stored.value
        self._digest = guesses.digest
        self._header = definition.header.lower().encode('ascii')
        self._query = definition.query.encode('utf-8')
        self._principal = principal_of(stored)
        self.sort = 'apikey', b'' if self._query else self._header, self._query
        self._attempts = guesses.attempts_at(repr(self.sort))
        # Zato 2.0 takes any key where there is none yet; here nobody has it: no digest is empty.
        self.claim = guesses.digest(definition.password.encode('utf-8')) if definition.password else b''

    def claimed(self, inbound: Message) -> bytes | None:
        """The digest of the key."""
        try:
            key = self._presented(inbound)
        except Malformed:
            return _NOBODY
        return None if key is None else self._digest(key)

    def check(self, inbound: Message) -> Principal | Awaitable[Principal]:
        """The principal, at once. Raises Unauthorized, or returns what does so later."""
        http = inbound.http
        if http is not None and http.admitted_by is self:
            return self._principal
        claimed = self.claimed(inbound)
        if claimed is None:
            raise Unauthorized(inbound.cid, None, self.challenge)
        attempts = self._attempts
        if attempts.slowed and (delay := attempts.delay(inbound)) > 0:
            return attempts.wait(inbound, delay, partial(self._compared, inbound, claimed))
        return self._compared(inbound, claimed)

    def _compared(self, inbound: Message, claimed: bytes) -> Principal:
        if not equal_secrets(claimed, self.claim):
            raise self._attempts.refuse(inbound, Unauthorized(inbound.cid, None, self.challenge))
        self._attempts.admitted(inbound, self)
        return self._principal

    def _presented(self, inbound: Message) -> bytes | None:
        """The key as it was sent; None where there is none. Raises Malformed where there are two."""
        if not self._query:
            return inbound.headers.get(self._header)
        return None if inbound.http is None else query_parameter(inbound.http.query, self._query)
