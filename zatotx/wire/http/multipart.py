"""multipart/form-data (RFC 7578), read piece by piece: values of fields as text, files as places in the body.

No file is copied: where its bytes begin follows from how the parts before it are framed, and is looked up in the body
once all of it was read. Pure; parsing itself is the library's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from multipart import MultipartError, ParserLimitReached, PushMultipartParser, parse_options_header

from zatotx.wire.malformed import Malformed

__all__ = ['CONTENT_TYPE', 'FilePart', 'Limits', 'Malformed', 'MultipartForm', 'boundary_of', 'read_form']

CONTENT_TYPE = b'multipart/form-data'
_LONGEST_BOUNDARY = 70  # RFC 2046 5.1.1
_HEADERS = 16 * 1024  # bytes between the end of a part and the content of the next one
_EXTENDED = 'filename*'
_PARAMETER = re.compile(r'; *([^\s;="]+) *= *("(?:\\.|[^\\"])*"|[^\s;"]*)')
_CHARSETS = frozenset({'utf-8', 'iso-8859-1'})  # RFC 8187 §3.2.1 and RFC 5987, its predecessor


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one form may hold beside its files, whose size is bounded by that of the body."""

    parts: int = 1_000
    text: int = 1024 * 1024  # bytes of all fields together
    header: int = 4_096  # bytes of one header line of a part
    headers: int = 8  # of one part


class FilePart(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a form: where in the body its bytes are, and what its sender says of it."""

    name: str  # of the form's field
    filename: str  # as sent: never a path to use, '' where none was
    content_type: str  # '' where none was sent
    headers: Mapping[str, str]  # Title-Case
    start: int
    size: int


class MultipartForm(msgspec.Struct, frozen=True, kw_only=True):
    """What a body holds. A field or file that is repeated is a list, in the order of the body."""

    fields: Mapping[str, str | list[str]]
    files: tuple[FilePart, ...]


def boundary_of(content_type: bytes) -> str:
    """The boundary that a Content-Type names. Raises Malformed."""
    field = content_type.decode('latin-1')
    kind, options = parse_options_header(field)
    _said_once(field, 'Content-Type')
    boundary: str = options.get('boundary', '')
    if kind != CONTENT_TYPE.decode('ascii') or not boundary:
        raise Malformed('Content-Type names no boundary')
    if len(boundary) > _LONGEST_BOUNDARY or not boundary.isascii() or not boundary.isprintable():
        raise Malformed(f'the boundary is longer than {_LONGEST_BOUNDARY} characters or not printable ASCII')
    return boundary


def read_form(pieces: Iterable[bytes], at: Callable[[int, int], bytes], boundary: str, limits: Limits) -> MultipartForm:
    """Read a body. `at(start, size)` gives bytes of it once more. Raises Malformed naming what is wrong."""
    reader = _Reader(limits)
    try:
        with PushMultipartParser(
            boundary, max_segment_count=limits.parts, max_header_size=limits.header,
            max_header_count=limits.headers,
        ) as parser:  # fmt: skip
            for piece in pieces:
                reader.take(parser.parse(piece))
    except MultipartError as error:
        raise Malformed(_said(error, limits)) from None
    return MultipartForm(fields=reader.fields, files=tuple(_placed(reader.segments, at, boundary)))


class _Reader:
    """Keeps the values of fields, and counts the bytes of files."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._text = 0
        self._value: bytearray | None = None  # of the field under way
        self.segments: list[Any] = []
        self.fields: dict[str, str | list[str]] = {}

    def take(self, events: Iterable[Any]) -> None:
        """Events of the parser: a segment, its bytes piece by piece, None at its end."""
        for event in events:
            if event is None:
                self._end()
            elif isinstance(event, (bytes, bytearray)):
                if self._value is not None:
                    self._add(event)
            else:
                self._begin(event)

    def _begin(self, segment: Any) -> None:
        if segment.disposition != 'form-data' or not segment.name:
            raise Malformed('a part is not form-data with a name')
        _said_once(segment.header('Content-Disposition', ''), 'a part')
        segment.filename = _filename(segment)
        self.segments.append(segment)
        self._value = None if _is_file(segment) else bytearray()

    def _add(self, piece: bytes | bytearray) -> None:
        self._text += len(piece)
        if self._text > self._limits.text:
            raise Malformed(f'the fields hold more than {self._limits.text} bytes, the limit here')
        assert self._value is not None
        self._value += piece

    def _end(self) -> None:
        value, self._value = self._value, None
        if value is None:
            return
        name = self.segments[-1].name
        try:
            text = value.decode('utf-8')
        except UnicodeDecodeError:
            raise Malformed(f'the field {name!r} is not UTF-8') from None
        earlier = self.fields.get(name)
        if earlier is None:
            self.fields[name] = text
        elif isinstance(earlier, list):
            earlier.append(text)
        else:
            self.fields[name] = [earlier, text]


def _said_once(field: str, where: str) -> None:
    """Raises Malformed for a parameter that is there twice (RFC 6266 §4.1): who looks at forms before us may go by the
    other one."""
    names = [name.lower() for name, _ in _PARAMETER.findall(field)]
    if len(names) > len(set(names)):
        raise Malformed(f'{where} says its {max(names, key=names.count)} twice')


def _is_file(segment: Any) -> bool:
    return segment.filename is not None or segment.content_type not in (None, 'text/plain')


def _filename(segment: Any) -> str | None:
    """What the sender calls the file; None where the part is none. RFC 7578 §4.2 has no use for `filename*`, but
    clients have, for names that are not ASCII: it goes before `filename` then (RFC 6266 §4.3)."""
    filename: str | None = segment.filename
    disposition = segment.header('Content-Disposition', '')
    if _EXTENDED not in disposition.lower():
        return filename
    extended = (value for name, value in _PARAMETER.findall(disposition) if name.lower() == _EXTENDED)
    return next(map(_extended, extended), filename)


def _extended(value: str) -> str:
    """The text of charset'language'text (RFC 8187 §3.2). Raises Malformed."""
    charset, _, rest = value.strip('"').partition("'")
    _, quote, text = rest.partition("'")
    try:
        if not quote or charset.lower() not in _CHARSETS:
            raise ValueError
        return unquote_to_bytes(text).decode(charset)
    except ValueError:
        raise Malformed('the filename* of a part cannot be read') from None


def _placed(segments: Iterable[Any], at: Callable[[int, int], bytes], boundary: str) -> Iterator[FilePart]:
    """The files, with where each begins: after the empty line that ends its headers."""
    end = 0  # of the part before
    for segment in segments:
        between = at(end, len(boundary) + _HEADERS)
        delimiter = between.find(b'--' + boundary.encode('ascii'))  # not in what stands before the first part
        if delimiter < 0:
            raise Malformed(f'there are more than {_HEADERS} bytes before the first part')
        headers = between.find(b'\r\n\r\n', delimiter)
        if headers < 0:
            raise Malformed(f'the headers of the part {segment.name!r} are longer than {_HEADERS} bytes')
        start = end + headers + 4
        end = start + segment.size
        if _is_file(segment):
            yield FilePart(name=segment.name, filename=segment.filename or '', content_type=segment.content_type or '',
                       headers=dict(segment.headerlist), start=start, size=segment.size)


def _said(error: MultipartError, limits: Limits) -> str:
    text = str(error.args[0])  # what may stand behind it is for programmers
    said = text[:1].lower() + text[1:]
    if isinstance(error, ParserLimitReached):
        return (f'{said}: the limits here are {limits.parts} parts, {limits.headers} headers a part, '
                f'{limits.header} bytes a header')  # fmt: skip
    return said
