"""HTTP Basic Auth definitions."""

from __future__ import annotations

from typing import Annotated

from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.security.definition import SecurityDefinition, control_character_error


def _username_error(username: str) -> str:
    """Checks a user name. RFC 7617 §2: a colon ends the user name in the credentials."""
    return (
        'must not have a colon: HTTP Basic Auth cannot carry one'
        if ':' in username
        else control_character_error(username)
    )


class BasicAuth(SecurityDefinition, frozen=True, kw_only=True):
    """Credentials for HTTP Basic Auth."""

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
    builtin_names=frozenset({'admin.invoke', 'pubapi'}),
    zato=ZatoApi(
        prefix='security.basic-auth', actions=('create', 'edit', 'delete', 'get-list', 'change-password')
    ),
)
