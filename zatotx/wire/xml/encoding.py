"""Determines the encoding of an XML document and converts it to UTF-8 (XML 1.0 §4.3.3, RFC 7303 §3).

Content-Type, XML declaration and byte order mark must agree: otherwise the program that validates a document and the
one that processes it might interpret it differently. So only a few encodings are supported, and UTF-16 requires both a
byte order mark and a declaration.
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
_WIDE_STARTS = (b'<\0', b'\0<', b'\0\0')  # first bytes of UTF-16 and UTF-32 without a byte order mark
_MAX_DECLARATION_SIZE = 1_000  # bytes
_NEWLINE = b'\n'
_DECLARED = re.compile(rb"""<\?xml\s[^>]*?\sencoding\s*=\s*(?:"([^"]*)"|'([^']*)')""")


def to_utf8(data: bytes, charset: str = '') -> bytes:
    """Convert an XML document to UTF-8 without a byte order mark. `charset` is the charset of the Content-Type, or ''
    if the Content-Type has no charset.

    Raises Malformed: an unsupported encoding, conflicting encodings, bytes invalid in the encoding, NUL.
    """
    if data[:2] in _BOMS_16:
        return _from_utf16(data, charset)
    has_bom = data.startswith(codecs.BOM_UTF8)
    if has_bom:
        data = data[3:]
    if b'\0' in data:
        raise Malformed(_describe_nul(data))
    is_ascii = data.isascii()
    codec = _common_codec('utf-8' if has_bom else '', charset, declared_encoding(data), is_ascii)
    if is_ascii:
        return data
    text = _decode(data, codec)
    return data if codec == 'utf-8' else text.encode('utf-8')


def declared_encoding(data: bytes) -> str:
    """Return the encoding in the XML declaration, in lower case, or '' if none is declared. Raises Malformed if the
    declaration does not end."""
    if data[:5] != b'<?xml' or not data[5:6].isspace():
        return ''
    end = data.find(b'?>', 0, _MAX_DECLARATION_SIZE)
    if end < 0:
        raise Malformed(f'the XML declaration does not end within {_MAX_DECLARATION_SIZE} bytes')
    return _parse_declaration(data[:end])


@lru_cache(maxsize=64)  # clients send the same declaration every time
def _parse_declaration(declaration: bytes) -> str:
    match = _DECLARED.match(declaration)
    return (match[1] or match[2] or b'').decode('ascii', 'replace').lower() if match else ''


@lru_cache(maxsize=256)
def content_type_charset(content_type: bytes) -> str:
    """Return the charset parameter of a Content-Type, in lower case, or '' if there is none. Raises Malformed if there
    are several different charsets."""
    charsets = {
        value.strip().strip(b'"').lower()
        for name, _, value in (part.partition(b'=') for part in content_type.split(b';')[1:])
        if name.strip().lower() == b'charset'
    }
    if len(charsets) > 1:
        raise Malformed('the Content-Type has several charsets')
    return charsets.pop().decode('ascii', 'replace') if charsets else ''


def error_position(data: bytes, offset: int) -> str:
    """Format a byte position for error messages, such as `line 3, column 7`. Columns are counted in bytes."""
    return f'line {data.count(_NEWLINE, 0, offset) + 1}, column {offset - data.rfind(_NEWLINE, 0, offset)}'


@lru_cache(maxsize=256)
def _common_codec(mark: str, charset: str, declaration: str, is_ascii: bool) -> str:
    """Return the codec on which all given encodings agree. ASCII is a subset of all of them."""
    names = [name for name in (mark, charset, declaration) if name]
    accepted_codecs = {_codec(name) for name in names}
    if 'utf-16' in accepted_codecs:
        name = _display_name(names[-1])
        raise Malformed(f'the encoding is said to be {name}, but there is no byte order mark of UTF-16')
    if len(accepted_codecs) > 1 and not is_ascii:
        raise Malformed(f'the encoding is said to be {" and ".join(map(_display_name, names))}')
    return accepted_codecs.pop() if len(accepted_codecs) == 1 else 'utf-8'


def _codec(name: str) -> str:
    try:
        return _CODECS[name]
    except KeyError:
        raise Malformed(f'the encoding {_display_name(name)} is not accepted here (accepted: {ACCEPTED})') from None


def _from_utf16(data: bytes, charset: str) -> bytes:
    if data[:4] in _BOMS_32:
        raise Malformed(f'the encoding UTF-32 is not accepted here (accepted: {ACCEPTED})')
    text = _decode(data, 'utf-16').encode('utf-8')
    if b'\0' in text:
        raise Malformed(_describe_nul(text))
    names = [name for name in (charset, declared_encoding(text)) if name]
    if not names:
        raise Malformed('UTF-16 must be declared, by encoding="UTF-16" or the charset of the Content-Type')
    if not {_codec(name) for name in names} <= {'utf-16'} or {*names} - {'utf-16', _BOMS_16[data[:2]]}:
        raise Malformed(f'the byte order mark is of {_BOMS_16[data[:2]].upper()}, '
                        f'the encoding is said to be {" and ".join(map(_display_name, names))}')  # fmt: skip
    return text


def _decode(data: bytes, codec: str) -> str:
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        name = {'latin-1': 'iso-8859-1', 'ascii': 'us-ascii', 'cp1252': 'windows-1252'}.get(codec, codec)
        raise Malformed(f'invalid {name.upper()} ({error_position(data, error.start)})') from None


def _describe_nul(data: bytes) -> str:
    if data[:2] in _WIDE_STARTS:
        return 'UTF-16 needs a byte order mark'
    return f'a NUL byte ({error_position(data, data.find(0))})'


def _display_name(name: str) -> str:
    return name[:40].upper()
