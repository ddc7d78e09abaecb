"""Refuses document type declarations, which are found in the bytes before anything is parsed.

Entities, external subsets and defaults of attributes all come by a DTD, whatever else is in it. Comments, processing
instructions and CDATA sections are accepted wherever XML has them: the parser leaves the first two out and makes text
of the third, so that every value is read whole.
"""

from __future__ import annotations

import re

from zatotx.wire.malformed import Malformed
from zatotx.wire.xml.encoding import error_position

_DTD = b'<!DOCTYPE'  # XML 1.0 §2.8: in this case only
_COMMENT, _INSTRUCTION = b'<!--', b'<?'
# What may stand before it, in bounded steps: a call keeps the interpreter's lock. Longer ones are found one by one.
_SHORT = re.compile(rb'(?:[ \t\r\n]{1,9999}+|<!--(?:[^-]|-(?!->)){0,99}+-->|<\?(?:[^?]|\?(?!>)){0,99}+\?>){1,99}+')


def check(data: bytes) -> None:
    """Raises Malformed for a document in UTF-8 that has a DTD. Linear. What is no XML at all passes, as the parser says
    better what is wrong with it.

    A DTD stands before the root (XML 1.0 §2.8): after it the same characters are data, or not well-formed.
    """
    if _DTD in data:
        at = _end_of_misc(data)
        if data.startswith(_DTD, at):
            raise Malformed(f'a document type declaration (DTD) is not accepted here ({error_position(data, at)})')


def _end_of_misc(data: bytes) -> int:
    """Where the first thing stands that is no XML declaration, comment, processing instruction or blank."""
    at = 0
    while True:
        if short := _SHORT.match(data, at):
            at = short.end()
        elif data.startswith(_COMMENT, at):
            at = _after(data, b'-->', at + len(_COMMENT))
        elif data.startswith(_INSTRUCTION, at):
            at = _after(data, b'?>', at + len(_INSTRUCTION))
        else:
            return at


def _after(data: bytes, mark: bytes, start: int) -> int:
    """Where the mark ends that comes next; the end of the data where none does."""
    found = data.find(mark, start)
    return len(data) if found < 0 else found + len(mark)
