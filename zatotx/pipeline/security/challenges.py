"""Challenges for the WWW-Authenticate header (RFC 9110 §11.6.1), by type of definition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

GENERIC_CHALLENGE = 'Basic realm="zatotx"'  # for unknown definitions

_CHALLENGES: Mapping[str, str] = {
    'apikey': 'zato-apikey',  # Zato's names where HTTP defines no scheme
    'jwt': 'Bearer realm="zatotx"',
    'mtls': 'zato-mtls',
    'tech_account': 'zato-tech-acc',
    'wss': 'zato-wss',
    'xpath': 'zato-xpath',
}


def challenge_of(type_: str, definition: Any = None) -> str:
    """Return the challenge of a definition of that type, active or not. For Basic auth it contains the definition's
    realm."""
    if type_ == 'basic_auth' and definition is not None:
        realm = definition.realm.replace('\\', '\\\\').replace('"', '\\"')
        return f'Basic realm="{realm}"'
    return _CHALLENGES.get(type_, GENERIC_CHALLENGE)
