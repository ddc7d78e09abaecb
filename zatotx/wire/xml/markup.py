"""Rejects document type declarations (DTDs), which are searched in the bytes before parsing.

Entities, external subsets and default attributes all require a DTD. Comments, processing instructions and CDATA
sections are accepted anywhere: the parser removes the first two and converts the third to text, so that values are
complete.
"""

from __future__ import annotations

import re

from zatotx.wire.malformed import Malformed
from zatotx.wire.xml.encoding import error_position

_DTD = b'<!DOCTYPE'  # XML 1.0 §2.8: case-sensitive
_COMMENT, _INSTRUCTION = b'<!--', b'<?'
# What may precede it, in bounded steps, since a call holds the interpreter's lock. Longer items are skipped one by one.
_SHORT = re.compile(rb'(?:[ \t\r\n]{1,9999}+|<!--(?:[^-]|-(?!->)){0,99}+-->|<\?(?:[^?]|\?(?!>)){0,99}+\?>){1,99}+')


def reject_dtd(data: bytes) -> None:
    """Raises Malformed for a UTF-8 document with a DTD. Linear. Invalid XML passes, since the parser reports better
    errors.

    A DTD can only precede the root (XML 1.0 §2.8): after it the same characters are data or not well-formed.
    """
    if _DTD in data:
        position = _end_of_misc(data)
        if data.startswith(_DTD, position):
            where = error_position(data, position)
            raise Malformed(f'a document type declaration (DTD) is not accepted here ({where})')


def _end_of_misc(data: bytes) -> int:
    """Returns the position after the XML declaration, comments, processing instructions and white space at the
    start."""
    position = 0
    while True:
        if short := _SHORT.match(data, position):
            position = short.end()
        elif data.startswith(_COMMENT, position):
            position = _position_after(data, b'-->', position + len(_COMMENT))
        elif data.startswith(_INSTRUCTION, position):
            position = _position_after(data, b'?>', position + len(_INSTRUCTION))
        else:
            return position


def _position_after(data: bytes, mark: bytes, start: int) -> int:
    """Returns the position after the next mark; the end of the data if there is none."""
    index = data.find(mark, start)
    return len(data) if index < 0 else index + len(mark)
