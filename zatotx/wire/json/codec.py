"""JSON (RFC 8259) to values and back, on msgspec. Strict: what JSONTestSuite says must be refused is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

import msgspec

from zatotx.wire.malformed import Malformed

__all__ = ['Malformed', 'decode', 'encode']

_MSGSPEC_PREFIX = 'JSON is malformed: '
_decode = msgspec.json.Decoder().decode


def decode(body: bytes | bytearray | str) -> Any:
    """The value of a JSON text: dict, list, str, int, float, bool or None.

    Integers beyond 64 bits are kept, up to what msgspec reads; of repeated keys the last one counts. Raises Malformed:
    bad syntax, bad UTF-8, lone surrogates, numbers out of range, nesting deeper than the interpreter's stack, no text.
    """
    try:
        return _decode(body)
    except RecursionError:
        raise Malformed('the nesting is too deep') from None
    except UnicodeError:
        raise Malformed(_where_not_utf8(body)) from None
    except msgspec.MsgspecError as error:
        raise Malformed(_phrase(body, str(error))) from None


def encode(value: object) -> bytes:
    """`value` as compact UTF-8 JSON.

    Beside JSON's own types: datetime, date and time (ISO 8601), Decimal and UUID (text), bytes (base64), enums, msgspec
    Structs, dataclasses, sets, any Mapping, Sequence or Set. Not a number and the infinities are null. Keys are text or
    numbers. Raises TypeError for anything else, ValueError for lone surrogates and for what contains itself.
    """
    try:
        return _encode(value)
    except RecursionError:
        raise ValueError('The value is nested too deeply for JSON, or contains itself') from None
    except UnicodeEncodeError:
        raise ValueError('The value has a text with a lone surrogate, which has no form in JSON') from None


def _plain(value: object) -> object:
    """The nearest type that msgspec writes. It writes lists and tuples itself, so that one here is a key."""
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


_encode = msgspec.json.Encoder(enc_hook=_plain).encode


def _where_not_utf8(body: bytes | bytearray | str) -> str:
    """msgspec says where within the text value; the caller wants to know where in the body."""
    try:
        body.encode('utf-8') if isinstance(body, str) else body.decode('utf-8')
    except UnicodeDecodeError as error:
        return f'invalid UTF-8 (byte {error.start})'
    except UnicodeEncodeError as error:
        return f'a lone surrogate (character {error.start})'
    return 'invalid UTF-8'


def _phrase(body: bytes | bytearray | str, text: str) -> str:
    if text == 'Input data was truncated':
        return f'the text ends too early (byte {len(body)})' if body else 'there is no text'
    phrase = text.removeprefix(_MSGSPEC_PREFIX).partition(' - at ')[0]  # where is told without names: `$[...]`
    return phrase[:1].lower() + phrase[1:]
