"""JSON codec (RFC 8259) based on msgspec. It rejects all input that JSONTestSuite requires to be rejected."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import msgspec

from zatotx.wire.malformed import Malformed

__all__ = [
    'Malformed',
    'decode',
    'decode_object',
    'encode',
    'estimate_memory',
    'exceeds_depth',
    'has_more_keys',
    'wrap_in_zato_envelope',
    'write_error',
]


_MSGSPEC_PREFIX = 'JSON is malformed: '
_decode = msgspec.json.Decoder().decode


def decode(body: bytes | bytearray | str) -> Any:
    """Decode JSON to a dict, list, str, int, float, bool or None.

    Integers beyond 64 bits are kept, within msgspec's limits; of repeated keys the last one wins. Raises Malformed:
    invalid syntax, invalid UTF-8, lone surrogates, numbers out of range, nesting deeper than the interpreter's stack,
    empty text.
    """
    try:
        return _decode(body)
    except RecursionError:
        raise Malformed('the nesting is too deep') from None
    except UnicodeError:
        raise Malformed(_unicode_error(body)) from None
    except msgspec.MsgspecError as error:
        raise Malformed(_describe_error(body, str(error))) from None


def encode(value: object) -> bytes:
    """Encode a value as compact UTF-8 JSON.

    In addition to JSON's own types: datetime, date and time (ISO 8601), Decimal and UUID (text), bytes (base64), enums,
    msgspec Structs, dataclasses, sets, any Mapping, Sequence or Set. NaN and infinities become null. Keys are text or
    numbers. Raises TypeError for anything else, ValueError for lone surrogates and recursive values.
    """
    try:
        return _encode(value)
    except RecursionError:
        raise ValueError('The value is nested too deeply for JSON, or contains itself') from None
    except UnicodeEncodeError:
        raise ValueError('The value has a text with a lone surrogate, which has no form in JSON') from None


def write_error(cid: str, details: str) -> bytes:
    """Encode an error in Zato's JSON format."""
    return encode({'zato_env': {'result': 'ZATO_ERROR', 'cid': cid, 'details': details}})


def wrap_in_zato_envelope(cid: str, element: str, value: object) -> dict[str, object]:
    """Return the response of a zato.* service in Zato's JSON format, which contains `zato_env`, and the value in the
    element `element`."""
    return {'zato_env': {'result': 'ZATO_OK', 'cid': cid, 'details': ''}, element: value}


def _to_supported(value: object) -> object:
    """Convert a value to a type that msgspec supports. msgspec encodes lists and tuples itself, so that they get here
    only as keys."""
    if isinstance(value, (list, tuple)):
        raise TypeError(f'A {type(value).__name__} cannot be a key in JSON')
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (Sequence, Set)):
        return list(value)
    raise TypeError(f'A value of type {type(value).__name__} has no form in JSON')


_encode = msgspec.json.Encoder(enc_hook=_to_supported).encode


def _unicode_error(body: bytes | bytearray | str) -> str:
    """Locate the invalid UTF-8 in the body; msgspec reports its position in the string."""
    try:
        body.encode('utf-8') if isinstance(body, str) else body.decode('utf-8')
    except UnicodeDecodeError as error:
        return f'invalid UTF-8 (byte {error.start})'
    except UnicodeEncodeError as error:
        return f'a lone surrogate (character {error.start})'
    return 'invalid UTF-8'


def _describe_error(body: bytes | bytearray | str, text: str) -> str:
    if text == 'Input data was truncated':
        return f'the text ends too early (byte {len(body)})' if body else 'there is no text'
    phrase = text.removeprefix(_MSGSPEC_PREFIX).partition(' - at ')[0]  # the path has no names: `$[...]`
    return phrase[:1].lower() + phrase[1:]


# Limits of the content of a JSON text, checked cheaply: for free for small texts, by counting bytes for most others.
#
# A few megabytes of `[],[],[]` become hundreds of megabytes of Python objects. So keys and elements are counted in
# the text before it is decoded; nesting depth, which is cheap, is checked in the decoded value.

_SLICE_SIZE = 64 * 1024
_BACKSLASHES = re.compile(rb'\\*')
_OBJECT_SIZE = 64  # bytes of memory
_STRUCTURAL = (b',', b'{', b'[')


def has_more_keys(body: bytes, max_keys: int) -> bool:
    """Return whether JSON has more than `max_keys` keys and elements. They are counted as commas and opening brackets
    outside strings. The function takes linear time, and its result for invalid JSON is undefined."""
    if len(body) <= max_keys or sum(map(body.count, _STRUCTURAL)) <= max_keys:
        return False
    count, in_string = 0, False
    for piece in _slices(body):
        # Without escaped quotes, quotes delimit strings.
        parts = piece.replace(b'\\\\', b'').replace(b'\\"', b'').split(b'"')
        outside = b' '.join(parts[in_string::2])
        in_string ^= not len(parts) % 2
        count += sum(map(outside.count, _STRUCTURAL))
        if count > max_keys:
            return True
    return False


def estimate_memory(body: bytes) -> int:
    """Estimate the memory, in bytes, that decoded JSON or a decoded form takes. It is the size of the strings, where a
    string with a non-ASCII character may take four bytes per character, plus one object per comma and bracket."""
    texts = len(body) if body.isascii() else 4 * len(body)
    return texts + _OBJECT_SIZE * sum(map(body.count, _STRUCTURAL))


def exceeds_depth(body: bytes, value: object, max_depth: int) -> bool:
    """Return whether the decoded value nests objects and lists more than `max_depth` levels deep."""
    if len(body) <= max_depth or body.count(b'{') + body.count(b'[') <= max_depth:
        return False
    level = [value] if type(value) in (dict, list) else []
    for _ in range(max_depth):
        level = [
            child
            for container in level
            for child in (container.values() if type(container) is dict else container)  # type: ignore[attr-defined]
            if type(child) in (dict, list)
        ]
        if not level:
            break
    return bool(level)


def _slices(body: bytes) -> Iterator[bytes]:
    """Yield pieces of the body, none of which ends between a backslash and the escaped character."""
    start = 0
    while start < len(body):
        end = start + _SLICE_SIZE
        if body[end - 1 : end] == b'\\':
            run = _BACKSLASHES.match(body, end)
            end = 1 + (end if run is None else run.end())  # includes the character after the last one
        yield body[start:end]
        start = end


# Decodes JSON objects and rejects duplicate names.
#
# RFC 8259 §4 leaves the meaning of duplicate names open. If two programs interpret them differently, an attacker can
# exploit that, so tokens with duplicate names are rejected (RFC 7515 §4, RFC 7519 §4).

def decode_object(text: bytes) -> dict[str, Any]:
    """Decode a JSON object. Raises Malformed for invalid JSON, for other JSON types, and for duplicate names at any
    depth."""
    value = decode(text)
    if type(value) is not dict:
        raise Malformed('the text is no JSON object')
    json.loads(text, object_pairs_hook=_check_unique)  # msgspec cannot report duplicate names
    return value


def _check_unique(pairs: list[tuple[str, Any]]) -> None:
    if len(pairs) > len({name for name, _ in pairs}):
        raise Malformed('a member stands twice')
