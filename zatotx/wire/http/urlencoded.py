"""Parses percent-encoding (RFC 3986 §2.1), query strings and urlencoded forms (WHATWG URL §5.1) strictly."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from zatotx.wire.malformed import Malformed

__all__ = [
    'MAX_PAIRS',
    'Malformed',
    'decode_form',
    'decode_path',
    'decode_segment',
    'looks_like_json',
    'percent_decode',
    'query_parameter',
]


_HEX = b'0123456789abcdefABCDEF'
_OCTETS = {bytes((high, low)): bytes((int(bytes((high, low)), 16),)) for high in _HEX for low in _HEX}


def percent_decode(data: bytes) -> bytes:
    """Decode each escape %XX in the data. Raises Malformed for a % without two hexadecimal digits."""
    if b'%' not in data:
        return data
    first, *escapes = data.split(b'%')
    try:
        return first + b''.join([_OCTETS[piece[:2]] + piece[2:] for piece in escapes])
    except KeyError:
        raise Malformed('a % is not followed by two hex digits') from None


def decode_segment(segment: bytes) -> str:
    """Decode one path segment to text. An encoded slash becomes part of the segment. Raises Malformed for invalid
    escapes, invalid UTF-8 and NUL."""
    try:
        text = percent_decode(segment).decode('utf-8')
    except UnicodeDecodeError:
        raise Malformed('the path is not UTF-8') from None
    if '\0' in text:
        raise Malformed('the path has a NUL')
    return text


def decode_path(path: bytes) -> str:
    """Decode a whole path to text, for display and logs. Routes are matched against the encoded path (see
    rules.routing), since an encoded slash must not separate segments. Raises Malformed like `decode_segment`."""
    if b'%' not in path and path.isascii():
        return path.decode('ascii')
    return decode_segment(path)


MAX_PAIRS = 1000
_SNIFFED_BYTES = 64  # number of bytes in which white space may precede JSON
_JSON_OPENERS = (b'{', b'[', b'"')


def decode_form(data: bytes, max_pairs: int = MAX_PAIRS) -> dict[str, str | list[str]]:
    """Parse an urlencoded form or query string and return the values by name. The value of a repeated name is a list in
    order, and a name without '=' has the value ''.

    Pairs are separated by '&' only; empty ones are skipped. Raises Malformed: more than `max_pairs` pairs, a % without
    two hex digits, invalid UTF-8.
    """
    if data.count(b'&') >= max_pairs:
        raise Malformed(f'there are more than {max_pairs} pairs')
    fields: dict[str, str | list[str]] = {}
    for pair in data.split(b'&'):
        if pair:
            name, _, value = pair.partition(b'=')
            _add_value(fields, _decode(name), _decode(value))
    return fields


def looks_like_json(data: bytes) -> bool:
    """Return whether a body with the content type of a form is JSON. Form encoders always escape `{`, `[` and `"`
    (WHATWG URL §5.2), but many clients, such as `curl -d`, send JSON with this content type."""
    return data[:_SNIFFED_BYTES].lstrip()[:1] in _JSON_OPENERS


def _add_value(fields: dict[str, str | list[str]], name: str, value: str) -> None:
    existing = fields.get(name)
    if existing is None:
        fields[name] = value
    elif isinstance(existing, list):
        existing.append(value)
    else:
        fields[name] = [existing, value]


def _decode(data: bytes) -> str:
    if b'+' in data:
        data = data.replace(b'+', b' ')
    try:
        return percent_decode(data).decode('utf-8')
    except UnicodeDecodeError:
        raise Malformed('a name or value is not UTF-8') from None


def query_parameter(query: bytes, name: bytes) -> bytes | None:
    """Return the decoded value of a query parameter (WHATWG URL §5.1), or None if it is missing. Raises Malformed if it
    is repeated, since other programs may use the other value."""
    result: bytes | None = None
    for pair in query.split(b'&'):
        raw_name, _, value = pair.partition(b'=')
        if (raw_name if raw_name == name else _decode_parameter(raw_name)) == name:
            if result is not None:
                raise Malformed('a parameter is there twice')
            result = _decode_parameter(value)
    return result


def _decode_parameter(data: bytes) -> bytes:
    if b'+' in data:
        data = data.replace(b'+', b' ')
    return unquote_to_bytes(data) if b'%' in data else data
