"""HTTP Basic authentication (RFC 7617) with argon2id password hashes.

Verifying a hash takes tens of milliseconds by design, so it runs in a thread, once per credentials. Later requests
compare a keyed digest of the header. The password itself is never kept, and the key is generated anew for each process.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Awaitable, Mapping
from typing import Annotated, Any

from twisted.internet.defer import CancelledError, Deferred

from zatotx.interfaces.security_type import CredentialsContext, OutgoingCredentials, SecurityType, UnusableCredentials
from zatotx.model.errors import Unauthorized
from zatotx.model.message import Message, Principal
from zatotx.pipeline.security.authenticator import NO_DEFINITION, AuthenticationDependencies, make_principal
from zatotx.pipeline.security.password_verifier import PasswordVerifier
from zatotx.pipeline.security.secret_comparison import caller_network
from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.secrets import encrypted_part_of_dual_secret, hash_of_dual_secret
from zatotx.schema.security.definition import SecurityDefinition, control_character_error
from zatotx.schema.snapshot import StoredObject
from zatotx.wire.http.authentication import Malformed, parse_basic


def _username_error(username: str) -> str:
    """Check a user name. RFC 7617 §2: a colon ends the user name in the credentials."""
    return (
        'must not have a colon: HTTP Basic Auth cannot carry one'
        if ':' in username
        else control_character_error(username)
    )


class BasicAuth(SecurityDefinition, frozen=True, kw_only=True):
    """The security definition of credentials for HTTP Basic authentication."""

    username: Annotated[
        str,
        field('User name of the caller', min_length=1, max_length=1000, check=_username_error),
    ]
    realm: Annotated[
        str, field('Realm in the authentication challenge', max_length=1000, check=control_character_error)
    ] = 'zatotx'
    password: Annotated[
        str,
        field('Password of the caller; without one all requests are rejected', secret='both'),
    ] = ''


BASIC_AUTH = ObjectType(
    key='basic_auth',
    struct=BasicAuth,
    section='security',
    tag='basic_auth',
    title='HTTP Basic Auth definition',
    heading='Basic auth',
    builtin_names=frozenset({'admin.invoke', 'pubapi'}),
    zato=ZatoApi(
        prefix='security.basic-auth', actions=('create', 'edit', 'delete', 'get-list', 'change-password')
    ),
)


CACHE_SIZE = 10_000  # verified credentials cached per definition

_Key = tuple[bytes, str]  # the digest of the credentials, and the network of the caller


class _PendingLogin:
    """Credentials being verified, and the requests that wait for the result: a client that opens many connections at
    once causes one hash."""

    __slots__ = ('digest', 'hashing', 'network', 'password', 'requests', 'username', 'verification')

    def __init__(self, digest: bytes, network: str, username: str, password: str) -> None:
        self.digest = digest
        self.network = network
        self.username = username
        self.password = password
        self.requests: dict[Deferred[bool], None] = {}
        self.verification: Deferred[bool] | None = None
        self.hashing = False  # a thread has started, and cannot be stopped

    def cancel_request(self, request: Deferred[bool]) -> None:
        """Remove a cancelled request: its client disconnected, or its deadline passed. When the last one is removed, a
        verification that has not started is cancelled."""
        self.requests.pop(request, None)
        if not self.requests and not self.hashing and self.verification is not None:
            self.verification.cancel()


class BasicAuthAuthenticator:
    """Authenticates callers by one Basic authentication definition."""

    needs_body = False
    scheme = 'basic_auth'
    __slots__ = ('_addresses', '_attempts', '_digest', '_hashed', '_known', '_logins', '_principal', '_slowed',
                 '_username', '_verifier', 'challenge', 'lookup_key')  # fmt: skip

    def __init__(self, verifier: PasswordVerifier, stored: StoredObject) -> None:
        definition = stored.value
        self._verifier = verifier
        self._digest = verifier.comparison.digest
        self._username = definition.username.encode('utf-8')
        self._hashed = hash_of_dual_secret(definition.password)
        self.challenge = _challenge(definition)
        self.lookup_key = definition.username
        self._principal = make_principal(stored)
        attempts = self._attempts = verifier.comparison.attempts_for(f'{self.scheme} {self.lookup_key}')
        self._slowed, self._addresses = attempts.throttled_networks, attempts.admitted_addresses
        self._known: dict[bytes, None] = {}
        self._logins: dict[_Key, _PendingLogin] = {}

    def extract_key(self, message: Message) -> str | None:
        """Return the user name."""
        header = message.headers.get(b'authorization')
        if header is None or header[:6].lower() != b'basic ':
            return None
        try:
            return parse_basic(header)[0]
        except Malformed:
            return NO_DEFINITION

    def check(self, message: Message) -> Principal | Awaitable[Principal]:
        """Return the principal at once for credentials seen before, else an awaitable that verifies the hash in a
        thread. Raises Unauthorized."""
        http = message.http
        if http is not None and http.authenticated_by is self:
            return self._principal
        header = message.headers.get(b'authorization')
        if header is None:
            raise self._unauthorized(message)
        digest = self._digest(header)
        delay = self._attempts.delay(message) if self._slowed else 0.0
        if delay <= 0 and digest in self._known:
            if http is not None and http.peer in self._addresses:
                http.authenticated_by = self  # the body of `Attempts.admitted`, inlined
            else:
                self._attempts.record_success(message, self)
            return self._principal
        return self._check_new(message, header, digest, delay)

    async def _check_new(self, message: Message, header: bytes, digest: bytes, delay: float) -> Principal:
        try:
            username, password = parse_basic(header)
        except Malformed:
            raise self._unauthorized(message) from None
        network = caller_network(message)
        if delay > 0:
            self._verifier.comparison.enter_waiting(network, delay)
        try:
            is_valid = await self._verified_once(_PendingLogin(digest, network, username, password), delay)
        finally:
            if delay > 0:
                self._verifier.comparison.leave_waiting(network)
        if not is_valid:
            raise self._unauthorized(message)
        self._attempts.record_success(message, self)
        return self._principal

    def _verified_once(self, login: _PendingLogin, delay: float) -> Deferred[bool]:
        """Fires with whether the credentials are valid. Shares the verification with requests of the same network."""
        key = login.digest, login.network
        shared = self._logins.setdefault(key, login)
        request: Deferred[bool] = Deferred(shared.cancel_request)
        shared.requests[request] = None
        if shared is login:
            login.verification = Deferred.fromCoroutine(self._verify(login, delay))
            login.verification.addBoth(self._finish, login)
        return request

    async def _verify(self, login: _PendingLogin, delay: float) -> bool:
        attempts, network = self._attempts, login.network
        is_counted = delay > 0
        if is_counted:
            attempts.count_failure(network)
            await self._verifier.comparison.pause(delay)
        try:
            is_valid = login.digest in self._known or await self._verifier.verify(self._hashed, login)
        except CancelledError:
            if not is_counted:
                attempts.count_failure(network)  # disconnecting does not undo the guess
            raise
        # The hash is verified for an unknown user, too: that must take as long as a wrong password.
        if hmac.compare_digest(login.username.encode('utf-8'), self._username) and is_valid and self._hashed:
            if is_counted:
                attempts.uncount_failure(network)
            return True
        if not is_counted:
            attempts.count_failure(network)
        return False

    def _finish(self, result: Any, login: _PendingLogin) -> None:
        if result is True:
            if len(self._known) >= CACHE_SIZE:
                self._known.clear()
            self._known[login.digest] = None
        del self._logins[login.digest, login.network]
        requests, login.requests = tuple(login.requests), {}
        for request in requests:
            request.callback(result)

    def _unauthorized(self, message: Message) -> Unauthorized:
        return Unauthorized(message.cid, None, self.challenge)


def make_authenticator(stored: StoredObject, dependencies: AuthenticationDependencies) -> BasicAuthAuthenticator:
    """Create the authenticator of a Basic authentication definition."""
    return BasicAuthAuthenticator(dependencies.verifier, stored)


def make_credentials(stored: StoredObject, context: CredentialsContext) -> OutgoingCredentials:
    """Return the credentials that outgoing connections send for a Basic authentication definition (RFC 7617). Channels
    can use the same definition, so its password is stored both as a hash and, for outgoing calls, encrypted. Raises
    UnusableCredentials if only the hash is stored."""
    encrypted = encrypted_part_of_dual_secret(stored.value.password)
    if not encrypted and stored.value.password:
        raise UnusableCredentials(
            f'the password of its security definition {stored.name} is known as a hash only: change it, '
            'to the same if it is to stay'
        )
    password = context.decrypt(encrypted) if encrypted else ''
    pair = f'{stored.value.username}:{password}'.encode()
    return OutgoingCredentials(fields=((b'Authorization', b'Basic ' + b64encode(pair)),))


def _challenge(definition: BasicAuth) -> str:
    realm = definition.realm.replace('\\', '\\\\').replace('"', '\\"')
    return f'Basic realm="{realm}"'


def _openapi_scheme(value: BasicAuth) -> Mapping[str, Any]:
    realm = f', realm {value.realm!r}' if value.realm else ''
    return {'type': 'http', 'scheme': 'basic', 'description': f'{value.name}: HTTP Basic{realm}'}


security_type = SecurityType(
    object_type=BASIC_AUTH,
    authenticator='zatotx.security.basic_auth:make_authenticator',
    challenge=_challenge,
    openapi_scheme=_openapi_scheme,
    credentials='zatotx.security.basic_auth:make_credentials',
    has_login=True,
)
