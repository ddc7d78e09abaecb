"""JSON codec (RFC 8259) based on msgspec. Strict: rejects what JSONTestSuite requires to be rejected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

import msgspec

from zatotx.wire.malformed import Malformed

__all__ = ['Malformed', 'decode', 'encode', 'write_error']

_MSGSPEC_PREFIX = 'JSON is malformed: '
_decode = msgspec.json.Decoder().decode


def decode(body: bytes | bytearray | str) -> Any:
    """Decodes a JSON text to dict, list, str, int, float, bool or None.

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
    """Encodes a value as compact UTF-8 JSON.

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
    """Encodes an error in Zato's JSON format."""
    return encode({'zato_env': {'result': 'ZATO_ERROR', 'cid': cid, 'details': details}})


def _to_supported(value: object) -> object:
    """Converts a value to a type that msgspec supports. msgspec encodes lists and tuples itself, so that they get here
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
    """Locates the invalid UTF-8 in the body; msgspec reports its position in the string."""
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
