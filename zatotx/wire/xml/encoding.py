"""Which encoding an XML document is in, and the document in UTF-8 (XML 1.0 §4.3.3, RFC 7303 §3).

What the Content-Type says, what the document declares and a byte order mark must agree: a document that is read in one
encoding by whoever checks it, and in another by whoever acts on it, is two documents. So only a few encodings are
known, and UTF-16 counts only where it is both marked and declared.
"""

from __future__ import annotations

import codecs
import re
from functools import lru_cache

from zatotx.wire.malformed import Malformed

_CODECS = {
    'utf-8': 'utf-8',
    'utf8': 'utf-8',
    'us-ascii': 'ascii',
    'ascii': 'ascii',
    'iso-8859-1': 'latin-1',
    'iso_8859-1': 'latin-1',
    'latin1': 'latin-1',
    'iso-8859-15': 'iso8859-15',
    'iso_8859-15': 'iso8859-15',
    'windows-1252': 'cp1252',
    'cp1252': 'cp1252',
    'utf-16': 'utf-16',
    'utf-16le': 'utf-16',
    'utf-16be': 'utf-16',
}  # fmt: skip
ACCEPTED = 'UTF-8, US-ASCII, ISO-8859-1, ISO-8859-15, windows-1252, UTF-16'
_BOMS_16 = {codecs.BOM_UTF16_LE: 'utf-16le', codecs.BOM_UTF16_BE: 'utf-16be'}
_BOMS_32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_WIDE = (b'<\0', b'\0<', b'\0\0')  # how UTF-16 and UTF-32 begin without a mark
_LONGEST_DECLARATION = 1_000  # bytes
_NEWLINE = b'\n'
_DECLARED = re.compile(rb"""<\?xml\s[^>]*?\sencoding\s*=\s*(?:"([^"]*)"|'([^']*)')""")


def to_utf8(data: bytes, charset: str = '') -> bytes:
    """The document in UTF-8, without byte order mark. `charset`: what the Content-Type says, '' for nothing.

    Raises Malformed: an encoding that is not accepted, two that do not agree, bytes that are none of it, NUL.
    """
    if data[:2] in _BOMS_16:
        return _from_utf16(data, charset)
    marked = data.startswith(codecs.BOM_UTF8)
    if marked:
        data = data[3:]
    if b'\0' in data:
        raise Malformed(_why_nul(data))
    ascii_ = data.isascii()
    codec = _agreed('utf-8' if marked else '', charset, declared(data), ascii_)
    if ascii_:
        return data
    text = _decoded(data, codec)
    return data if codec == 'utf-8' else text.encode('utf-8')


def declared(data: bytes) -> str:
    """The encoding that an XML declaration names, in lower case; '' for none. Raises Malformed for one without end."""
    if data[:5] != b'<?xml' or not data[5:6].isspace():
        return ''
    end = data.find(b'?>', 0, _LONGEST_DECLARATION)
    if end < 0:
        raise Malformed(f'the XML declaration does not end within {_LONGEST_DECLARATION} bytes')
    return _declared(data[:end])


@lru_cache(maxsize=64)  # programs write the same declaration every time
def _declared(declaration: bytes) -> str:
    found = _DECLARED.match(declaration)
    return (found[1] or found[2] or b'').decode('ascii', 'replace').lower() if found else ''


@lru_cache(maxsize=256)
def charset_of(content_type: bytes) -> str:
    """The charset parameter of a Content-Type, in lower case; '' for none. Raises Malformed for two that differ."""
    found = {
        value.strip().strip(b'"').lower()
        for name, _, value in (part.partition(b'=') for part in content_type.split(b';')[1:])
        if name.strip().lower() == b'charset'
    }
    if len(found) > 1:
        raise Malformed('the Content-Type has several charsets')
    return found.pop().decode('ascii', 'replace') if found else ''


def error_position(data: bytes, at: int) -> str:
    """Where a byte stands, as it is told to people: `line 3, column 7`, in bytes."""
    return f'line {data.count(_NEWLINE, 0, at) + 1}, column {at - data.rfind(_NEWLINE, 0, at)}'


@lru_cache(maxsize=256)
def _agreed(mark: str, charset: str, declaration: str, ascii_: bool) -> str:
    """The codec that all who named an encoding mean. ASCII is the same in all of them."""
    said = [name for name in (mark, charset, declaration) if name]
    found = {_codec(name) for name in said}
    if 'utf-16' in found:
        raise Malformed(f'the encoding is said to be {_shown(said[-1])}, but there is no byte order mark of UTF-16')
    if len(found) > 1 and not ascii_:
        raise Malformed(f'the encoding is said to be {" and ".join(map(_shown, said))}')
    return found.pop() if len(found) == 1 else 'utf-8'


def _codec(name: str) -> str:
    try:
        return _CODECS[name]
    except KeyError:
        raise Malformed(f'the encoding {_shown(name)} is not accepted here (accepted: {ACCEPTED})') from None


def _from_utf16(data: bytes, charset: str) -> bytes:
    if data[:4] in _BOMS_32:
        raise Malformed(f'the encoding UTF-32 is not accepted here (accepted: {ACCEPTED})')
    text = _decoded(data, 'utf-16').encode('utf-8')
    if b'\0' in text:
        raise Malformed(_why_nul(text))
    said = [name for name in (charset, declared(text)) if name]
    if not said:
        raise Malformed('UTF-16 must be declared, by encoding="UTF-16" or the charset of the Content-Type')
    if not {_codec(name) for name in said} <= {'utf-16'} or {*said} - {'utf-16', _BOMS_16[data[:2]]}:
        raise Malformed(f'the byte order mark is of {_BOMS_16[data[:2]].upper()}, '
                        f'the encoding is said to be {" and ".join(map(_shown, said))}')  # fmt: skip
    return text


def _decoded(data: bytes, codec: str) -> str:
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        name = {'latin-1': 'iso-8859-1', 'ascii': 'us-ascii', 'cp1252': 'windows-1252'}.get(codec, codec)
        raise Malformed(f'invalid {name.upper()} ({error_position(data, error.start)})') from None


def _why_nul(data: bytes) -> str:
    if data[:2] in _WIDE:
        return 'UTF-16 needs a byte order mark'
    return f'a NUL byte ({error_position(data, data.find(0))})'


def _shown(name: str) -> str:
    return name[:40].upper()
