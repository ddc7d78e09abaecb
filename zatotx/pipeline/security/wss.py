"""WS-Security: UsernameTokens in SOAP messages (feature map 4, contract §4).

All rejected tokens cause the same response; the reason is logged at level debug. If Redis cannot tell whether a nonce
was used before, the request is rejected with 503.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from hashlib import blake2b

from attrs import define
from twisted.logger import Logger

from zatotx.interfaces.redis import INonceStore
from zatotx.model.errors import ServiceUnavailable, Timeout, Unauthorized
from zatotx.model.message import Message, Principal
from zatotx.pipeline.security.authenticator import ANY_DEFINITION, NO_DEFINITION, challenge_of, make_principal
from zatotx.pipeline.security.secret_comparison import SecretComparison
from zatotx.rules.security.wss import NonceCheck, UnacceptableWssToken, check_token, wss_requirements
from zatotx.schema.snapshot import StoredObject
from zatotx.wire.soap import envelope
from zatotx.wire.soap.envelope import VERSIONS
from zatotx.wire.soap.ws_security import FAILED_AUTHENTICATION, Malformed, SecurityHeader, read_security_header

_UNAVAILABLE = 'Nonces cannot be checked for reuse now'


class FailedAuthentication(Unauthorized):
    """Unauthorized, reported on SOAP channels with the fault code of SOAP Message Security §12."""

    soap_subcodes = (FAILED_AUTHENTICATION,)


@define
class WssDependencies:
    """The collaborators shared by all WS-Security authenticators of a node. `now`: seconds since 1970."""

    comparison: SecretComparison
    nonces: INonceStore
    now: Callable[[], float] = time.time


class WssAuthenticator:
    """Authenticates by one WS-Security definition."""

    needs_body = True
    scheme = 'wss'
    challenge = challenge_of(scheme)
    __slots__ = ('_attempts', '_dependencies', '_id', '_principal', '_terms', 'lookup_key')
    _log = Logger()

    def __init__(self, dependencies: WssDependencies, stored: StoredObject) -> None:
        self._dependencies = dependencies
        self._terms = wss_requirements(stored.value)
        self._principal = make_principal(stored)
        self._id = b'%d ' % stored.id  # nonces are counted per definition
        self.lookup_key = stored.value.username
        self._attempts = dependencies.comparison.attempts_for(f'{self.scheme} {self.lookup_key}')

    def extract_key(self, message: Message) -> str | None:
        """Return the user name, or ANY_OF_THEM if there are several tokens."""
        try:
            security = security_header_of(message)
        except Malformed:
            return NO_DEFINITION
        if security is None:
            return None
        return security.tokens[0].username if len(security.tokens) == 1 else ANY_DEFINITION

    def check(self, message: Message) -> Principal | Awaitable[Principal]:
        """Return an awaitable of the principal, which asks Redis whether the nonce is new. Raises Unauthorized, also
        when awaited; ServiceUnavailable if Redis does not answer."""
        try:
            security = security_header_of(message)
        except Malformed as error:
            raise self._reject(message, str(error)) from None
        if security is None:
            raise self._reject(message, 'there is no Security header for this node')
        attempts = self._attempts
        if attempts.throttled_networks and (delay := attempts.delay(message)) > 0:
            return attempts.wait(message, delay, partial(self._check_token, message, security))
        return self._check_token(message, security)

    def _check_token(self, message: Message, security: SecurityHeader) -> Principal | Awaitable[Principal]:
        try:
            one_time_use = check_token(security, self._terms, self._dependencies.now())
        except UnacceptableWssToken as error:
            rejection = self._reject(message, str(error))
            raise (
                self._attempts.record_failure(message, rejection) if error.has_wrong_credentials else rejection
            ) from None
        if one_time_use.nonce:
            return self._require_new_nonce(message, one_time_use)
        self._attempts.record_success(message)
        return self._principal

    async def _require_new_nonce(self, message: Message, one_time_use: NonceCheck) -> Principal:
        name = blake2b(self._id + one_time_use.nonce, digest_size=20).hexdigest()
        try:
            is_new = await self._dependencies.nonces.consume(name, one_time_use.ttl)
        except (ServiceUnavailable, Timeout) as error:
            self._log.debug('{cid}: {what}: {why}', cid=message.cid, what=_UNAVAILABLE, why=error.msg)
            raise ServiceUnavailable(message.cid, _UNAVAILABLE) from error
        if not is_new:
            raise self._reject(message, 'its Nonce was used before')
        self._attempts.record_success(message)
        return self._principal

    def _reject(self, message: Message, reason: str) -> FailedAuthentication:
        self._log.debug('{cid}: WS-Security definition {name!r} refuses: {why}', cid=message.cid,
                        name=self._principal.name, why=reason)
        return FailedAuthentication(message.cid, None, self.challenge)


def security_header_of(message: Message) -> SecurityHeader | None:
    """Return the Security header addressed to this node; None if the message has none or is not SOAP. Raises
    Malformed."""
    soap_message = getattr(message, 'soap', None)
    if soap_message is not None:
        return (
            read_security_header(soap_message.headers, VERSIONS[soap_message.version]) if soap_message.headers else None
        )
    root = getattr(message, 'parsed', None)  # an envelope on a plain XML channel
    version = envelope.soap_version(root) if hasattr(root, 'tag') else None
    return None if version is None else read_security_header(envelope.read_envelope(root).headers, version)
