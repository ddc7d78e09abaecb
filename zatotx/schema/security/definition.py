"""The fields that all security definitions share."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta

from zatotx.schema.meta import field
from zatotx.schema.secrets import ConfigObject
from zatotx.wire.http.host_names import is_loopback

# The purposes of security definitions, to which references are limited: channels authenticate callers by them, outgoing
# REST and SOAP connections send them, and protocols with a login of their own (FTP) check its user name and password.
FOR_CHANNELS, FOR_OUTGOING_REST, FOR_OUTGOING_SOAP = 'channel', 'outgoing_rest', 'outgoing_soap'
FOR_LOGINS = 'login'
_MAX_ROLES = 100


def control_character_error(text: str) -> str:
    """Return an error message if a text contains control characters, otherwise ''. Credentials (RFC 7617 §2) and header
    fields must not contain control characters."""
    return 'must not have control characters' if any(ord(c) < 32 or ord(c) == 127 for c in text) else ''


def roles_error(roles: list[str]) -> str:
    """Return an error message if a list of roles is invalid, otherwise ''."""
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


def secure_url_error(url: str, *, no_user_reason: str, http_risk: str) -> str:
    """Return an error message if a URL is neither https nor http on loopback, or has a user name or password, otherwise
    ''. `no_user_reason` says why the URL must not contain a user name, and `http_risk` says what an attacker could do
    with plain http. Both are clauses of the error message."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or '', parts.port
    except ValueError:
        return 'must be a URL'
    if not url.isascii() or not url.isprintable() or ' ' in url:
        return 'must be a URL, with what is not ASCII encoded'
    if parts.scheme not in ('https', 'http') or not host:
        return 'must be a URL that begins with https://'
    if '@' in parts.netloc:
        return f'must have no user name or password: {no_user_reason}'
    if '#' in url:
        return 'must have no fragment'
    if parts.scheme == 'http' and not is_loopback(host):
        return f'must begin with https://: by plain http anybody on the way could {http_risk}'
    return ''
