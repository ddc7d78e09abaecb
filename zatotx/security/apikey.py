"""Authenticates requests by an API key, in a header field or in the query string."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from functools import partial
from typing import Annotated, Any

from zatotx.interfaces.security_type import CredentialsContext, OutgoingCredentials, SecurityType
from zatotx.model.errors import Unauthorized
from zatotx.model.message import Message, Principal
from zatotx.pipeline.security.authenticator import NO_DEFINITION, AuthenticationDependencies, make_principal
from zatotx.pipeline.security.secret_comparison import SecretComparison, equal_secrets
from zatotx.rules.routing.url_template import encode_query
from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.security.definition import SecurityDefinition, control_character_error
from zatotx.schema.snapshot import StoredObject
from zatotx.wire.http.urlencoded import Malformed, query_parameter

DEFAULT_HEADER = 'X-API-Key'
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")  # RFC 9110 §5.6.2


def _header_error(header: str) -> str:
    return '' if header and _TOKEN.issuperset(header) else 'must be the name of a header field'


class ApiKey(SecurityDefinition, frozen=True, kw_only=True):
    """The security definition of an API key in a header field or a query parameter."""

    header: Annotated[
        str, field('Header field that carries the key', max_length=200, check=_header_error)
    ] = DEFAULT_HEADER
    query: Annotated[
        str,
        field('Query parameter that carries the key; if set, header fields are ignored', max_length=200,
              check=control_character_error),
    ] = ''
    password: Annotated[
        str,
        field('The key; without one all requests are rejected', secret='encrypted',
              check=control_character_error),
    ] = ''


def _find_errors(value: ApiKey) -> list[tuple[str, str]]:
    if value.query and value.header != DEFAULT_HEADER:
        return [('query', 'give header or query, not both')]
    return []


APIKEY = ObjectType(
    key='apikey',
    struct=ApiKey,
    section='security',
    tag='apikey',
    title='API key definition',
    zato=ZatoApi(
        prefix='security.apikey',
        actions=('create', 'edit', 'delete', 'get-list', 'change-password'),
        zato_names={'header': 'username'},  # feature map 4
    ),
    validate=_find_errors,
)


CHALLENGE = 'zato-apikey'  # Zato's name: HTTP defines no scheme
_NO_PRINCIPAL = NO_DEFINITION.encode()


class ApiKeyAuthenticator:
    """Authenticates callers by one API key definition."""

    needs_body = False
    challenge = CHALLENGE
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


def make_authenticator(stored: StoredObject, dependencies: AuthenticationDependencies) -> ApiKeyAuthenticator:
    """Create the authenticator of an API key definition."""
    return ApiKeyAuthenticator(dependencies.comparison, stored)


def make_credentials(stored: StoredObject, context: CredentialsContext) -> OutgoingCredentials:
    """Return the credentials that outgoing connections send for an API key definition."""
    key = stored.value.password
    if stored.value.query:
        return OutgoingCredentials(query=encode_query({stored.value.query: key}))
    return OutgoingCredentials(fields=((stored.value.header.encode('ascii'), key.encode('utf-8')),))


def _openapi_scheme(value: ApiKey) -> Mapping[str, Any]:
    location, name = ('query', value.query) if value.query else ('header', value.header)
    return {'type': 'apiKey', 'in': location, 'name': name,
            'description': f'{value.name}: a key, {name!r} in the {location}'}  # fmt: skip


security_type = SecurityType(
    object_type=APIKEY,
    authenticator='zatotx.security.apikey:make_authenticator',
    challenge=lambda _: CHALLENGE,
    openapi_scheme=_openapi_scheme,
    credentials='zatotx.security.apikey:make_credentials',
    query_parameters=lambda value: (value.query,) if value.query else (),
)
