"""Decodes the JSON text of an enmasse document, object by object. Pure: no I/O.

A call of msgspec holds the interpreter lock until it returns, which is 50 ms or more for a document of 100,000 objects,
in whatever thread it is called. Here each call takes a part of it, and other threads run between them.
"""

from __future__ import annotations

import msgspec

_decode_sections = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode = msgspec.json.Decoder().decode


def decode_document(text: str) -> object:
    """Return the value of a JSON text. A document is an object of lists; other values are decoded in one call. Raises
    msgspec.DecodeError."""
    try:
        sections = _decode_sections(text)
    except msgspec.ValidationError:  # no object
        return _decode(text)
    return {name: _decode_section(section) for name, section in sections.items()}


def _decode_section(section: msgspec.Raw) -> object:
    try:
        items = _decode_items(section)
    except msgspec.ValidationError:  # no list
        return _decode(section)
    return [_decode(item) for item in items]
