"""OAuth 2.0 client definitions, with which outgoing connections obtain access tokens.

The other module of this type is the HTTP client's plugins/http/rest/oauth2.py.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from zatotx.interfaces.security_type import SecurityType
from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.secrets import ConfigObject
from zatotx.schema.security.definition import control_character_error, secure_url_error

_RESERVED_FIELDS = frozenset(('grant_type', 'scope', 'client_id', 'client_secret'))


def _url_error(url: str) -> str:
    """Require TLS, except on loopback, since the client secret is sent (RFC 6749 §3.2)."""
    return secure_url_error(url, no_user_reason='they are client_id and client_secret', http_risk='read the secret')


def _scopes_error(scopes: list[str]) -> str:
    """Check scopes by RFC 6749 §3.3."""
    invalid = [scope for scope in scopes if any(not 0x21 <= ord(c) <= 0x7E or c in '"\\' for c in scope)]
    return 'scopes have no blanks, quotation marks, backslashes and nothing but ASCII' if invalid else ''


def _fields_error(fields: dict[str, str]) -> str:
    reserved = sorted(_RESERVED_FIELDS.intersection(fields))
    return f'must not have {", ".join(reserved)}: there are fields for that' if reserved else ''


def _certificates_error(text: str) -> str:
    # imported on demand: slow, and few definitions need it
    from cryptography.x509 import InvalidVersion, load_pem_x509_certificates

    if not text:
        return ''
    try:
        load_pem_x509_certificates(text.encode())
    except (ValueError, InvalidVersion):
        return 'holds no certificate in PEM form'
    return ''


class OAuth2Client(ConfigObject, frozen=True, kw_only=True):
    """The security definition of a client of an authorization server, with the client credentials grant (RFC 6749
    §4.4)."""

    name: Annotated[
        str,
        field('Name of the definition, unique among all security definitions', min_length=1, max_length=1000),
    ]
    is_active: Annotated[bool, field('Whether connections may use it')] = True
    token_url: Annotated[
        str,
        field('Token endpoint of the authorization server: https, or http on loopback',
              min_length=1, max_length=4096, check=_url_error),
    ]
    client_id: Annotated[
        str,
        field(
            'Client identifier at the authorization server',
            min_length=1,
            max_length=1000,
            check=control_character_error,
        ),
    ]
    client_secret: Annotated[str, field('Client secret', secret='encrypted')] = ''
    client_auth: Annotated[
        str,
        field('How the client authenticates: by HTTP Basic Auth, which every server supports, or by form fields',
              choices=('basic', 'post')),
    ] = 'basic'
    scopes: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=1000)]],
        field('Scopes to request', max_length=100, check=_scopes_error),
    ] = []
    extra_fields: Annotated[
        dict[str, str], field('Additional form fields of the token request, such as audience or resource',
                              check=_fields_error)
    ] = {}
    timeout: Annotated[float, field('Timeout of token requests, in seconds', gt=0, le=600)] = 10.0
    tls_ca: Annotated[
        str,
        field("Certificate authorities for token_url, in PEM form; empty = the system's",
              max_length=1_000_000, check=_certificates_error),
    ] = ''


OAUTH2_CLIENT = ObjectType(
    key='oauth2_client',
    struct=OAuth2Client,
    section='security',
    tag='oauth2_client',
    title='OAuth 2.0 client',
    zato=ZatoApi(prefix='security.oauth2-client', extra_response_fields=('username',)),
)


security_type = SecurityType(object_type=OAUTH2_CLIENT, credentials='zatotx.plugins.http.rest.oauth2:make_credentials')
