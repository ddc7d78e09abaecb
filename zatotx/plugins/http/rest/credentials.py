"""Outgoing credentials: what a security definition adds to each request."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from secrets import token_bytes
from time import time

from attrs import field, frozen

from zatotx.connectors.tls_settings import TlsSettings
from zatotx.plugins.http.client.call import Fields
from zatotx.plugins.http.client.http_client import ClientEnvironment, ClientSettings, make_client
from zatotx.plugins.http.client.pool import PoolLimits
from zatotx.plugins.http.rest.call_chain import Authorizer
from zatotx.plugins.http.rest.digest_auth import DigestAuthorizer
from zatotx.plugins.http.rest.oauth2 import OAuth2Authorizer, TokenCache, TokenFetcher
from zatotx.rules.routing.url_template import encode_query
from zatotx.schema.secrets import get_encrypted
from zatotx.schema.security.wss import DIGEST
from zatotx.schema.snapshot import StoredObject
from zatotx.wire.soap.ws_security import UsernameToken

_NONCE_SIZE = 16  # bytes


def new_username_token(username: str, password: str, *, is_digest: bool) -> UsernameToken:
    """Create the UsernameToken of one message (UsernameToken Profile 1.0 §3.1), with a new nonce. The time is included
    in clear text too, because peers reject old or repeated tokens."""
    now = datetime.now(UTC)
    created = f'{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z'
    return UsernameToken(username, password, is_digest, token_bytes(_NONCE_SIZE), created, now.timestamp())


class UnusableCredentials(ValueError):  # noqa: N818 - what it is
    """A security definition that no connection can use. The text says why, as the rest of a sentence about the
    connection."""


@frozen(kw_only=True)
class OutgoingCredentials:
    """What a security definition adds to the requests of a connection."""

    fields: Fields = field(default=(), repr=False)
    query: bytes = field(default=b'', repr=False)
    make_authorizer: Callable[[], Authorizer] | None = None  # creates the authorizer of a connection
    requires_challenge: bool = False  # the peer always rejects a first request without credentials
    make_token: Callable[[], UsernameToken] | None = field(
        default=None, repr=False
    )  # creates the token of one SOAP message


@frozen(kw_only=True)
class CredentialsContext:
    """What outgoing credentials are created with."""

    environment: ClientEnvironment
    unseal: Callable[[str], str]
    token_cache: TokenCache | None


NO_CREDENTIALS = OutgoingCredentials()


def make_credentials(stored: StoredObject | None, context: CredentialsContext) -> OutgoingCredentials:
    """Return the credentials of a security definition; None = no definition. Raises UnusableCredentials."""
    if stored is None:
        return NO_CREDENTIALS
    factory = _FACTORIES.get(stored.type)
    if factory is None:
        raise UnusableCredentials(
            f'its security definition {stored.name} is of type {stored.type}, which is for channels only'
        )
    if not stored.value.is_active:
        raise UnusableCredentials(f'its security definition {stored.name} is inactive')
    return factory(stored, context)


def _basic(stored: StoredObject, context: CredentialsContext) -> OutgoingCredentials:
    """Return Basic Auth credentials (RFC 7617)."""
    pair = f'{stored.value.username}:{_password(stored, context)}'.encode()
    return OutgoingCredentials(fields=((b'Authorization', b'Basic ' + b64encode(pair)),))


def _apikey(stored: StoredObject, context: CredentialsContext) -> OutgoingCredentials:
    key = stored.value.password
    if stored.value.query:
        return OutgoingCredentials(query=encode_query({stored.value.query: key}))
    return OutgoingCredentials(fields=((stored.value.header.encode('ascii'), key.encode('utf-8')),))


def _digest(stored: StoredObject, context: CredentialsContext) -> OutgoingCredentials:
    factory = partial(DigestAuthorizer, stored.value.username, stored.value.password)
    return OutgoingCredentials(make_authorizer=factory, requires_challenge=True)


def _oauth2(stored: StoredObject, context: CredentialsContext) -> OutgoingCredentials:
    # One connection per token request: they are rare, and nothing has to be closed when the definition changes.
    settings = ClientSettings(
        pool_limits=PoolLimits(idle_timeout=0), tls=TlsSettings(ca=stored.value.tls_ca), max_redirects=0
    )
    client = make_client(settings, context.environment)
    fetcher = TokenFetcher(definition=stored.value, title=f'Security definition {stored.name} (oauth2_client)',
                        send=client.send, cache=context.token_cache, now=time)  # fmt: skip
    source = OAuth2Authorizer(fetcher, context.environment.reactor)
    return OutgoingCredentials(make_authorizer=lambda: source)


def _wss(stored: StoredObject, context: CredentialsContext) -> OutgoingCredentials:
    value = stored.value
    if not value.password:
        raise UnusableCredentials(f'its security definition {stored.name} has no password yet')
    return OutgoingCredentials(
        make_token=partial(new_username_token, value.username, value.password, is_digest=value.password_type == DIGEST)
    )


def _password(stored: StoredObject, context: CredentialsContext) -> str:
    """Return the password of a definition that channels use too: it is stored as a hash and, encrypted, for outgoing
    calls."""
    sealed = get_encrypted(stored.value.password)
    if not sealed and stored.value.password:
        raise UnusableCredentials(
            f'the password of its security definition {stored.name} is known as a hash only: change it, '
            'to the same if it is to stay'
        )
    return context.unseal(sealed) if sealed else ''


_FACTORIES: Mapping[str, Callable[[StoredObject, CredentialsContext], OutgoingCredentials]] = {
    'basic_auth': _basic,
    'apikey': _apikey,
    'digest_auth': _digest,
    'oauth2_client': _oauth2,
    'wss': _wss,
}
