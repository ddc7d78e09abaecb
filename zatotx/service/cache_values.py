"""Serializes the values of self.cache with MessagePack."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

_SIMPLE = frozenset({type(None), bool, int, float, str, bytes})


def encode_value(value: object) -> bytes:
    """Serialize a value. Raises TypeError for a value that deserialization would not restore unchanged."""
    _check(value, '')
    try:
        return msgspec.msgpack.encode(value)
    except (OverflowError, TypeError) as error:
        raise TypeError(f'This value cannot be cached: {error}') from None


def decode_value(data: bytes) -> Any:
    """Deserialize a value that `encode_value` serialized."""
    return msgspec.msgpack.decode(data)


def _check(value: object, path: str) -> None:
    kind = type(value)
    if kind in _SIMPLE:
        return
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, (str, int)):
                raise TypeError(f'This value cannot be cached: the key {key!r} of $…{path} is neither text nor an int')
            _check(item, f'{path}.{key}')
    elif isinstance(value, (list, tuple)):
        for at, item in enumerate(value):
            _check(item, f'{path}[{at}]')
    elif not (isinstance(value, datetime) and value.tzinfo is not None):
        raise TypeError(
            f'This value cannot be cached: ${path} is of type {kind.__name__}; None, bool, int, float, str, bytes,'
            f' aware datetimes, lists and dicts can'
        )
