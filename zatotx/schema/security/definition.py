"""The common fields of all security definitions."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from zatotx.schema.masking import ConfigObject
from zatotx.schema.meta import field

# The types that channels can verify, and the types that outgoing connections can send.
CHANNEL_TYPES = ('basic_auth', 'apikey', 'tech_account', 'wss', 'xpath', 'jwt', 'mtls')
OUTGOING_TYPES = ('basic_auth', 'apikey', 'digest_auth', 'oauth2_client')
_MAX_ROLES = 100


def control_character_error(text: str) -> str:
    """Returns the error of text with control characters, which credentials (RFC 7617 §2) and header fields must not
    contain, or ''."""
    return 'must not have control characters' if any(ord(c) < 32 or ord(c) == 127 for c in text) else ''


def roles_error(roles: list[str]) -> str:
    """Returns the error of a list of roles, or ''."""
    if len(set(roles)) < len(roles):
        return 'has a role twice'
    invalid = [role for role in roles if role != role.strip() or ',' in role or control_character_error(role)]
    return 'roles have no commas, no control characters and no blanks around them' if invalid else ''


Role = Annotated[str, Meta(min_length=1, max_length=100)]


class SecurityDefinition(ConfigObject, frozen=True, kw_only=True):
    """The base class of definitions that channels use to authenticate callers."""

    name: Annotated[
        str,
        field('Name of the definition, unique among all security definitions', min_length=1, max_length=1000),
    ]
    is_active: Annotated[bool, field('Whether callers can authenticate with it')] = True
    roles: Annotated[
        list[Role],
        field('Roles of authenticated callers; channels and services may require them', max_length=_MAX_ROLES,
              check=roles_error),
    ] = []
