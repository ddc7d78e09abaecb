"""What XML can say beside elements and text: which of it is accepted, found in the bytes before they are parsed.

A document type declaration is refused, whatever is in it: entities, external subsets and defaults of attributes all
come by it. Comments and processing instructions say nothing to anybody here, but they may cut a value in two, of which
one reader sees the whole and another the first half. So they, and CDATA sections, may not touch text. That is decided
here, where pieces are still apart.
"""

from __future__ import annotations

import re

from zatotx.wire.malformed import Malformed
from zatotx.wire.xml_encoding import place

_MARKUP = re.compile(rb'<(?:!--|!\[CDATA\[|!|\?)')
_BLANK = re.compile(rb'[ \t\r\n]*')
_ENDS = {b'<!--': b'-->', b'<![CDATA[': b']]>', b'<?': b'?>'}
_NAMES = {b'<!--': 'a comment', b'<![CDATA[': 'a CDATA section', b'<?': 'a processing instruction'}
MOST_NOTES = 10_000  # comments and processing instructions of one document
_CDATA = b'<![CDATA['
_GREATER = ord('>')
_SPAN = 32 * 1024  # bytes


def check(data: bytes) -> None:
    """Raises Malformed for what is not accepted in a document in UTF-8. Linear; what is no XML at all passes, as the
    parser says better what is wrong with it."""
    after = _after_declaration(data)
    if b'!' not in data and data.find(b'?', after) < 0:
        return
    before = b''  # the kind of markup that ends at `after`
    notes = 0
    looked = after if len(data) > _SPAN and _CDATA in data else len(data)  # until where many were looked for at once
    while True:
        if after >= looked:
            looked = after + _SPAN
            if (sections := _sections(data, after)) > after:
                before, after = _CDATA, sections
                continue
        if (found := _MARKUP.search(data, after)) is None:
            return
        kind, start = found[0], found.start()
        if kind == b'<!':
            raise Malformed(f'a document type declaration (DTD) is not accepted here ({place(data, start)})')
        mark = _ENDS[kind]
        end = data.find(mark, found.end())
        if end < 0:
            return
        end += len(mark)
        notes += kind != _CDATA
        if notes > MOST_NOTES:
            raise Malformed(f'there are more than {MOST_NOTES} comments and processing instructions, the limit here')
        between_tags = start > after and data[start - 1] == _GREATER and data.startswith(b'<', end)  # as mostly
        if not between_tags and _touches_text(data, kind, before, slice(after, start), end):
            raise Malformed(f'{_NAMES[kind]} stands inside a value ({place(data, start)})')
        before, after = kind, end


def _after_declaration(data: bytes) -> int:
    """Where the XML declaration ends, 0 without one."""
    if data[:5] != b'<?xml' or data[5:6] not in (b' ', b'\t', b'\r', b'\n'):
        return 0
    return data.find(b'?>') + 2


def _sections(data: bytes, after: int) -> int:
    """Until where, some way on, all markup is CDATA sections right between two tags, as programs write them; `after`
    itself where it is not. Known by some counts, as a look at each takes a microsecond: what else is counted, in a
    section or in a value, makes a difference, or is not well-formed."""
    end = data.find(b']]>', after + _SPAN, after + 2 * _SPAN) + 3
    part = data[after : end + 1]
    sections = part.count(_CDATA)
    alone = (
        sections == part.count(b'><![CDATA[') == part.count(b'<!') == part.count(b']]>') == part.count(b']]><')
        and b'<?' not in part
        and b']]><!' not in part
    )
    return end if sections and alone else after


def _touches_text(data: bytes, kind: bytes, before: bytes, between: slice, end: int) -> bool:
    """Whether markup has text right before or after it, blanks aside. A CDATA section is text itself."""
    text = data[between].rstrip(b' \t\r\n')
    if not text:
        beside = bool(before) and _CDATA in (before, kind)
    else:
        beside = not text.endswith(b'>')
    following = _BLANK.match(data, end)
    last = end if following is None else following.end()
    return beside or data[last : last + 1] not in (b'<', b'')
