"""Determines the idempotency key of an inbound message, with which duplicates are detected. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

import msgspec

MESSAGE, BODY, HEADER, JSON = 'message', 'body', 'header:', 'json:'


def idempotency_key_error(expression: str) -> str:
    """Return an error message, as a clause, if a key expression is invalid, otherwise ''."""
    if expression in (MESSAGE, BODY):
        return ''
    if expression.startswith(HEADER) and expression.removeprefix(HEADER).strip():
        return ''
    if expression.startswith(JSON + '/'):
        return ''
    return "must be 'message' (its id at the peer), 'body', 'header:NAME' or 'json:/pointer'"


def find_idempotency_key(expression: str, message_id: str, headers: Mapping[bytes, bytes], body: bytes) -> str:
    """Return the idempotency key of a message, or '' if the message has none, in which case it never counts as a
    duplicate. `message_id` is the ID that the peer assigned. The names in `headers` are in lower case."""
    if expression == MESSAGE:
        return message_id
    if expression == BODY:
        return sha256(body).hexdigest()
    if expression.startswith(HEADER):
        name = expression.removeprefix(HEADER).strip().lower()
        return headers.get(name.encode('utf-8'), b'').decode('utf-8', 'surrogateescape')
    return _pointed_value(expression.removeprefix(JSON), body)


def _pointed_value(pointer: str, body: bytes) -> str:
    """Return the text, number or boolean that a JSON pointer (RFC 6901) names, '' if there is none."""
    try:
        value = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return ''
    for token in pointer.split('/')[1:]:
        name = token.replace('~1', '/').replace('~0', '~')
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return ''
    return str(value) if isinstance(value, (str, int, float)) else ''
