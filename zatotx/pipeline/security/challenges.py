"""What a refused caller reads in WWW-Authenticate (RFC 9110 §11.6.1), by the type of the definition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

GENERIC = 'Basic realm="zatotx"'  # where nothing is known of the definition

_CHALLENGES: Mapping[str, str] = {
    'apikey': 'zato-apikey',  # Zato's words, where HTTP has no scheme
    'jwt': 'Bearer realm="zatotx"',
    'mtls': 'zato-mtls',
    'tech_account': 'zato-tech-acc',
    'wss': 'zato-wss',
    'xpath': 'zato-xpath',
}


def challenge_of(type_: str, definition: Any = None) -> str:
    """The challenge of a definition of that type, active or not. Basic auth has the realm of the definition in it."""
    if type_ == 'basic_auth' and definition is not None:
        realm = definition.realm.replace('\\', '\\\\').replace('"', '\\"')
        return f'Basic realm="{realm}"'
    return _CHALLENGES.get(type_, GENERIC)
