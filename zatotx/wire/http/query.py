"""Reads one parameter of a query string without parsing all of it."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from zatotx.wire.malformed import Malformed

__all__ = ['Malformed', 'query_parameter']


def query_parameter(query: bytes, name: bytes) -> bytes | None:
    """Returns the decoded value of the parameter (WHATWG URL §5.1); None if it is missing. Raises Malformed if it is
    repeated, since other programs may use the other value."""
    result: bytes | None = None
    for pair in query.split(b'&'):
        raw_name, _, value = pair.partition(b'=')
        if (raw_name if raw_name == name else _decode(raw_name)) == name:
            if result is not None:
                raise Malformed('a parameter is there twice')
            result = _decode(value)
    return result


def _decode(data: bytes) -> bytes:
    if b'+' in data:
        data = data.replace(b'+', b' ')
    return unquote_to_bytes(data) if b'%' in data else data
