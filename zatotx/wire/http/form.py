"""application/x-www-form-urlencoded, of bodies and query strings (WHATWG URL §5.1), read strictly."""

from __future__ import annotations

from zatotx.wire.http.percent_encoding import percent_decode
from zatotx.wire.malformed import Malformed

__all__ = ['MOST_PAIRS', 'Malformed', 'decode_form', 'is_json_instead']

MOST_PAIRS = 1000
_LEADING = 64  # bytes in which white space may stand before JSON
_JSON_OPENS = (b'{', b'[', b'"')


def decode_form(data: bytes, most: int = MOST_PAIRS) -> dict[str, str | list[str]]:
    """Text by name; a name that is repeated has a list, in order. A name without '=' has the text ''.

    Pairs are separated by '&' only; empty ones are skipped. Raises Malformed: more than `most` pairs, a % without two
    hex digits, octets that are not UTF-8.
    """
    if data.count(b'&') >= most:
        raise Malformed(f'there are more than {most} pairs')
    fields: dict[str, str | list[str]] = {}
    for pair in data.split(b'&'):
        if pair:
            name, _, value = pair.partition(b'=')
            _add(fields, _text(name), _text(value))
    return fields


def is_json_instead(data: bytes) -> bool:
    """Whether a body that is called a form is JSON. No encoder of forms leaves `{`, `[` or `"` as they are (WHATWG URL
    §5.2), and many clients call all that they send a form: `curl -d` does."""
    return data[:_LEADING].lstrip()[:1] in _JSON_OPENS


def _add(fields: dict[str, str | list[str]], name: str, value: str) -> None:
    known = fields.get(name)
    if known is None:
        fields[name] = value
    elif isinstance(known, list):
        known.append(value)
    else:
        fields[name] = [known, value]


def _text(data: bytes) -> str:
    if b'+' in data:
        data = data.replace(b'+', b' ')
    try:
        return percent_decode(data).decode('utf-8')
    except UnicodeDecodeError:
        raise Malformed('a name or value is not UTF-8') from None
