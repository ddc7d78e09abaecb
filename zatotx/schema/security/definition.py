"""What all security definitions have."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from zatotx.schema.masking import ConfigObject
from zatotx.schema.meta import field

# What the two sides take: channels ask who calls, outgoing connections say who we are.
OF_CHANNELS = ('basic_auth', 'apikey', 'tech_account', 'wss', 'xpath', 'jwt', 'mtls')
OF_OUTGOING = ('basic_auth', 'apikey', 'digest_auth', 'oauth2_client')
_MOST_ROLES = 100


def line_mistake(text: str) -> str:
    """RFC 7617 §2: no control character stands in credentials; nor in header fields."""
    return 'must not have control characters' if any(ord(c) < 32 or ord(c) == 127 for c in text) else ''


def roles_mistake(roles: list[str]) -> str:
    """What is wrong with a list of roles."""
    if len(set(roles)) < len(roles):
        return 'has a role twice'
    wrong = [role for role in roles if role != role.strip() or ',' in role or line_mistake(role)]
    return 'roles have no commas, no control characters and no blanks around them' if wrong else ''


Role = Annotated[str, Meta(min_length=1, max_length=100)]


class Definition(ConfigObject, frozen=True, kw_only=True):
    """Who may use the channels that name it, in whatever way its type says."""

    name: Annotated[
        str,
        field('Name of the definition, unique among all security definitions', min_length=1, max_length=1000),
    ]
    is_active: Annotated[bool, field('Whether it admits anybody')] = True
    roles: Annotated[
        list[Role],
        field('Roles of whoever it admits: channels and services may demand them', max_length=_MOST_ROLES,
              check=roles_mistake),
    ] = []
