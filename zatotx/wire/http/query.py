"""One parameter of a query string, without reading all of it into a mapping."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from zatotx.wire.malformed import Malformed

__all__ = ['Malformed', 'query_parameter']


def query_parameter(query: bytes, name: bytes) -> bytes | None:
    """The value of the parameter, decoded (WHATWG URL §5.1); None where it is not there. Raises Malformed where it is
    there twice: who reads the first one and who reads the last one would read two requests."""
    found: bytes | None = None
    for pair in query.split(b'&'):
        given, _, value = pair.partition(b'=')
        if (given if given == name else _decoded(given)) == name:
            if found is not None:
                raise Malformed('a parameter is there twice')
            found = _decoded(value)
    return found


def _decoded(data: bytes) -> bytes:
    if b'+' in data:
        data = data.replace(b'+', b' ')
    return unquote_to_bytes(data) if b'%' in data else data
