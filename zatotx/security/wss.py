"""WS-Security definitions, which authenticate SOAP messages by UsernameTokens.

All rejected tokens cause the same response; the reason is logged at level debug. If Redis cannot tell whether a nonce
was used before, the request is rejected with 503.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from hashlib import blake2b
from math import inf
from secrets import token_bytes
from typing import Annotated

from attrs import define
from twisted.logger import Logger

from zatotx.interfaces.redis import INonceStore
from zatotx.interfaces.security_type import (
    CredentialsContext,
    OutgoingCredentials,
    SecurityType,
    UnusableCredentials,
)
from zatotx.model.errors import ServiceUnavailable, Timeout, Unauthorized
from zatotx.model.message import Message, Principal
from zatotx.pipeline.security.authenticator import (
    ANY_DEFINITION,
    NO_DEFINITION,
    AuthenticationDependencies,
    make_principal,
)
from zatotx.pipeline.security.secret_comparison import SecretComparison
from zatotx.rules.security.wss_validation import NonceCheck, WssRequirements, WssTokenRejected, validate_security_header
from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.security.definition import FOR_OUTGOING_SOAP, SecurityDefinition
from zatotx.schema.snapshot import StoredObject
from zatotx.wire.soap import envelope
from zatotx.wire.soap.envelope import VERSIONS
from zatotx.wire.soap.ws_security import (
    FAILED_AUTHENTICATION,
    Malformed,
    SecurityHeader,
    UsernameToken,
    read_security_header,
)

CLEAR_TEXT, DIGEST = 'clear_text', 'digest'
_DAY = 24 * 60 * 60


class Wss(SecurityDefinition, frozen=True, kw_only=True):
    """The security definition of a WS-Security UsernameToken, which SOAP channels verify and outgoing SOAP connections
    send."""

    username: Annotated[str, field('Username of the token', min_length=1, max_length=1000)]
    password: Annotated[
        str, field('Password of the token; without one all requests are rejected', secret='encrypted')
    ] = ''
    password_type: Annotated[
        str,
        field('How the password is sent: as clear text, or as a digest of nonce, creation time and password',
              choices=(CLEAR_TEXT, DIGEST),
              aliases={'clear': CLEAR_TEXT, 'text': CLEAR_TEXT, 'PasswordText': CLEAR_TEXT, 'PasswordDigest': DIGEST}),
    ] = CLEAR_TEXT
    reject_empty_nonce_creat: Annotated[
        bool, field('Whether tokens without Nonce or Created are rejected; only tokens with both are protected '
                    'against replay')
    ] = True
    reject_stale_tokens: Annotated[
        bool, field('Whether tokens older than reject_expiry_limit are rejected')
    ] = True
    reject_expiry_limit: Annotated[int, field('Seconds for which a token is valid', ge=1, le=_DAY)] = 3600
    nonce_freshness_time: Annotated[
        int, field('Seconds for which nonces are remembered; at least as long as their tokens are valid', ge=1, le=_DAY)
    ] = 3600


WSS = ObjectType(
    key='wss',
    struct=Wss,
    section='security',
    tag='wss',
    title='WS-Security definition',
    zato=ZatoApi(prefix='security.wss', actions=('create', 'edit', 'delete', 'get-list', 'change-password')),
)


CHALLENGE = 'zato-wss'  # Zato's name: HTTP defines no scheme
_UNAVAILABLE = 'Nonces cannot be checked for reuse now'


class WssAuthenticationFailed(Unauthorized):
    """The error for failed WS-Security authentication. SOAP channels report it with the fault code of SOAP Message
    Security §12."""

    soap_subcodes = (FAILED_AUTHENTICATION,)


@define
class WssDependencies:
    """The objects that all WS-Security authenticators of a node share. `now` returns the seconds since 1970."""

    comparison: SecretComparison
    nonces: INonceStore
    now: Callable[[], float] = time.time


class WssAuthenticator:
    """Authenticates callers by one WS-Security definition."""

    needs_body = True
    scheme = 'wss'
    challenge = CHALLENGE
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
            one_time_use = validate_security_header(security, self._terms, self._dependencies.now())
        except WssTokenRejected as error:
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

    def _reject(self, message: Message, reason: str) -> WssAuthenticationFailed:
        self._log.debug('{cid}: WS-Security definition {name!r} refuses: {why}', cid=message.cid,
                        name=self._principal.name, why=reason)
        return WssAuthenticationFailed(message.cid, None, self.challenge)


def security_header_of(message: Message) -> SecurityHeader | None:
    """Return the Security header of a message that is addressed to this node, or None if the message has none or is not
    SOAP. Raises Malformed."""
    soap_message = message.soap
    if soap_message is not None:
        return (
            read_security_header(soap_message.headers, VERSIONS[soap_message.version]) if soap_message.headers else None
        )
    root = message.parsed  # an envelope on a plain XML channel
    version = envelope.soap_version(root) if hasattr(root, 'tag') else None
    return None if version is None else read_security_header(envelope.read_envelope(root).headers, version)


def wss_requirements(definition: Wss) -> WssRequirements:
    """Return the requirements that a WS-Security definition places on tokens."""
    return WssRequirements(
        definition.username,
        definition.password.encode('utf-8'),
        definition.password_type == DIGEST,
        definition.reject_empty_nonce_creat,
        float(definition.reject_expiry_limit) if definition.reject_stale_tokens else inf,
        float(definition.nonce_freshness_time),
    )


def make_authenticator(stored: StoredObject, dependencies: AuthenticationDependencies) -> WssAuthenticator:
    """Create the authenticator of a WS-Security definition."""
    return WssAuthenticator(WssDependencies(dependencies.comparison, dependencies.nonces), stored)


_NONCE_SIZE = 16  # bytes


def new_username_token(username: str, password: str, *, is_digest: bool) -> UsernameToken:
    """Create the UsernameToken of one message (UsernameToken Profile 1.0 §3.1), with a new nonce. The creation time is
    included even if the password is sent in clear text, because peers reject old or repeated tokens."""
    now = datetime.now(UTC)
    created = f'{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z'
    return UsernameToken(username, password, is_digest, token_bytes(_NONCE_SIZE), created, now.timestamp())


def make_credentials(stored: StoredObject, context: CredentialsContext) -> OutgoingCredentials:
    """Return the credentials that outgoing SOAP connections send for a WS-Security definition. Raises
    UnusableCredentials if the definition has no password."""
    value = stored.value
    if not value.password:
        raise UnusableCredentials(f'its security definition {stored.name} has no password yet')
    return OutgoingCredentials(
        make_token=partial(new_username_token, value.username, value.password, is_digest=value.password_type == DIGEST)
    )


security_type = SecurityType(
    object_type=WSS,
    authenticator='zatotx.security.wss:make_authenticator',
    challenge=lambda _: CHALLENGE,
    credentials='zatotx.security.wss:make_credentials',
    outgoing=(FOR_OUTGOING_SOAP,),
)
