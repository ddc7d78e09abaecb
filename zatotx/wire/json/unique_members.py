"""Decodes JSON objects and rejects duplicate names.

RFC 8259 §4 leaves the meaning of duplicate names open. If two programs interpret them differently, an attacker can
exploit that, so tokens with duplicate names are rejected (RFC 7515 §4, RFC 7519 §4).
"""

from __future__ import annotations

import json
from typing import Any

from zatotx.wire.json.codec import decode
from zatotx.wire.malformed import Malformed


def decode_object(text: bytes) -> dict[str, Any]:
    """Decodes a JSON object. Raises Malformed: what `wire.json.codec.decode` rejects, other JSON types, a duplicate
    name at any depth."""
    value = decode(text)
    if type(value) is not dict:
        raise Malformed('the text is no JSON object')
    json.loads(text, object_pairs_hook=_check_unique)  # msgspec cannot report duplicate names
    return value


def _check_unique(pairs: list[tuple[str, Any]]) -> None:
    if len(pairs) > len({name for name, _ in pairs}):
        raise Malformed('a member stands twice')
