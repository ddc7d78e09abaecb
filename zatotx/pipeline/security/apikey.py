"""API keys in a header field or in the query string (feature map 4)."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial

from zatotx.model.errors import Unauthorized
from zatotx.model.message import Message, Principal
from zatotx.pipeline.security.authenticator import NO_DEFINITION, challenge_of, make_principal
from zatotx.pipeline.security.secret_comparison import SecretComparison, equal_secrets
from zatotx.schema.snapshot import StoredObject
from zatotx.wire.http.urlencoded import Malformed, query_parameter

_NO_PRINCIPAL = NO_DEFINITION.encode()


class ApiKeyAuthenticator:
    """Authenticates by one API key definition."""

    needs_body = False
    challenge = challenge_of('apikey')
    __slots__ = ('_attempts', '_digest', '_header', '_principal', '_query', 'lookup_key', 'scheme')

    def __init__(self, comparison: SecretComparison, stored: StoredObject) -> None:
        definition = stored.value
        self._digest = comparison.digest
        self._header = definition.header.lower().encode('ascii')
        self._query = definition.query.encode('utf-8')
        self._principal = make_principal(stored)
        self.scheme = 'apikey', b'' if self._query else self._header, self._query
        self._attempts = comparison.attempts_for(repr(self.scheme))
        # Zato 2.0 accepts any key if none is set yet. Here no key matches: no digest is empty.
        self.lookup_key = comparison.digest(definition.password.encode('utf-8')) if definition.password else b''

    def extract_key(self, message: Message) -> bytes | None:
        """Return the digest of the key."""
        try:
            key = self._extract_raw_key(message)
        except Malformed:
            return _NO_PRINCIPAL
        return None if key is None else self._digest(key)

    def check(self, message: Message) -> Principal | Awaitable[Principal]:
        """Return the principal at once, or an awaitable of it if the caller is throttled. Raises Unauthorized."""
        http = message.http
        if http is not None and http.authenticated_by is self:
            return self._principal
        digest = self.extract_key(message)
        if digest is None:
            raise Unauthorized(message.cid, None, self.challenge)
        attempts = self._attempts
        if attempts.throttled_networks and (delay := attempts.delay(message)) > 0:
            return attempts.wait(message, delay, partial(self._compare, message, digest))
        return self._compare(message, digest)

    def _compare(self, message: Message, digest: bytes) -> Principal:
        if not equal_secrets(digest, self.lookup_key):
            raise self._attempts.record_failure(message, Unauthorized(message.cid, None, self.challenge))
        self._attempts.record_success(message, self)
        return self._principal

    def _extract_raw_key(self, message: Message) -> bytes | None:
        """Return the key as it was sent, None if there is none. Raises Malformed if there are two."""
        if not self._query:
            return message.headers.get(self._header)
        return None if message.http is None else query_parameter(message.http.query, self._query)
