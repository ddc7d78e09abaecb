"""HTTP Digest authentication: defines the credentials that outgoing connections use.

The other module of this type is the HTTP client's plugins/http/rest/digest_authorizer.py.
"""

from __future__ import annotations

from typing import Annotated

from zatotx.interfaces.security_type import SecurityType
from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.secrets import ConfigObject
from zatotx.schema.security.definition import control_character_error


def _username_error(username: str) -> str:
    """Check a user name. RFC 7616 §3.4.2: a colon ends the user name in the hashed text."""
    return (
        'must not have a colon: Digest Auth cannot carry one' if ':' in username else control_character_error(username)
    )


class DigestAuth(ConfigObject, frozen=True, kw_only=True):
    """The security definition of a user name and password for HTTP Digest authentication (RFC 7616)."""

    name: Annotated[
        str,
        field('Name of the definition, unique among all security definitions', min_length=1, max_length=1000),
    ]
    is_active: Annotated[bool, field('Whether connections may use it')] = True
    username: Annotated[str, field('User name to send', min_length=1, max_length=1000, check=_username_error)]
    password: Annotated[str, field('Password to send', secret='encrypted')] = ''


DIGEST_AUTH = ObjectType(
    key='digest_auth',
    struct=DigestAuth,
    section='security',
    tag='digest_auth',
    title='HTTP Digest Auth definition',
    zato=ZatoApi(
        prefix='security.digest-auth', actions=('create', 'edit', 'delete', 'get-list', 'change-password')
    ),
)


security_type = SecurityType(
    object_type=DIGEST_AUTH, credentials='zatotx.plugins.http.rest.digest_authorizer:make_credentials'
)
