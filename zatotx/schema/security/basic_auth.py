"""HTTP Basic Auth definitions."""

from __future__ import annotations

from typing import Annotated

from zatotx.schema.masking import Configured
from zatotx.schema.meta import ObjectType, ZatoApi, field


def _line_mistake(text: str) -> str:
    """RFC 7617 §2: no control character stands in credentials; nor in the challenge's realm."""
    return 'must not have control characters' if any(ord(c) < 32 or ord(c) == 127 for c in text) else ''


def _username_mistake(username: str) -> str:
    """RFC 7617 §2: a colon ends the user name in the credentials."""
    return 'must not have a colon: HTTP Basic Auth cannot carry one' if ':' in username else _line_mistake(username)


class BasicAuth(Configured, frozen=True, kw_only=True):
    """HTTP Basic Auth: who may use the channels that name this definition."""

    name: Annotated[
        str,
        field('Name of the definition, unique among all security definitions', min_length=1, max_length=1000),
    ]
    is_active: Annotated[bool, field('Whether it admits anybody')] = True
    username: Annotated[
        str,
        field('What the caller gives as user name', min_length=1, max_length=1000, check=_username_mistake),
    ]
    realm: Annotated[
        str, field('Shown to the caller that has to log in', max_length=1000, check=_line_mistake)
    ] = 'zatotx'
    password: Annotated[
        str,
        field('What the caller gives as password; until there is one nobody is admitted', secret='hashed'),
    ] = ''


BASIC_AUTH = ObjectType(
    key='basic_auth',
    struct=BasicAuth,
    section='security',
    tag='basic_auth',
    title='HTTP Basic Auth definition',
    own=frozenset({'admin.invoke', 'pubapi'}),
    zato=ZatoApi(
        prefix='security.basic-auth', actions=('create', 'edit', 'delete', 'get-list', 'change-password')
    ),
)
