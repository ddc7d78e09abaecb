"""JSON objects in which every member has its name for itself.

RFC 8259 §4 leaves open what a name means that stands twice. Where two programs read one text, an attacker gains by
their reading it differently: so a token with such a text is refused (RFC 7515 §4, RFC 7519 §4).
"""

from __future__ import annotations

import json
from typing import Any

from zatotx.wire.json.codec import decode
from zatotx.wire.malformed import Malformed


def decode_object(text: bytes) -> dict[str, Any]:
    """The object of a JSON text. Raises Malformed: what `wire.json.decode` refuses, no object, a name that stands
    twice in one object, at any depth."""
    value = decode(text)
    if type(value) is not dict:
        raise Malformed('the text is no JSON object')
    json.loads(text, object_pairs_hook=_unique)  # msgspec has no say in what becomes of repeated names
    return value


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len(pairs) > len({name for name, _ in pairs}):
        raise Malformed('a member stands twice')
