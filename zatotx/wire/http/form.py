"""Parses application/x-www-form-urlencoded bodies and query strings (WHATWG URL §5.1), strictly."""

from __future__ import annotations

from zatotx.wire.http.percent_encoding import percent_decode
from zatotx.wire.malformed import Malformed

__all__ = ['MAX_PAIRS', 'Malformed', 'decode_form', 'looks_like_json']

MAX_PAIRS = 1000
_SNIFFED_BYTES = 64  # number of bytes in which white space may precede JSON
_JSON_OPENERS = (b'{', b'[', b'"')


def decode_form(data: bytes, max_pairs: int = MAX_PAIRS) -> dict[str, str | list[str]]:
    """Returns the values by name; a repeated name has a list, in order. A name without '=' has the value ''.

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
    """Returns whether a body with the content type of a form is JSON. Form encoders escape `{`, `[` and `"` (WHATWG URL
    §5.2), but many clients label everything as a form, e.g. `curl -d`."""
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
