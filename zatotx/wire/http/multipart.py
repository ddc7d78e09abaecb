"""Incremental parser of multipart/form-data (RFC 7578). The values of fields are returned as text, and files are
returned as positions within the body.

Files are not copied: the position of a file follows from the framing of the parts before it, and is determined after
the whole body was read. Pure; the parsing itself is done by the multipart library.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from zatotx.wire.malformed import Malformed

__all__ = [
    'CONTENT_TYPE',
    'FilePart',
    'Malformed',
    'MultipartForm',
    'MultipartLimits',
    'parse_boundary',
    'parse_multipart',
]

CONTENT_TYPE = b'multipart/form-data'
_MAX_BOUNDARY_LENGTH = 70  # RFC 2046 5.1.1
_MAX_HEADERS_SIZE = 16 * 1024  # maximum number of bytes between the end of a part and the content of the next one
_EXTENDED = 'filename*'
_PARAMETER = re.compile(r'; *([^\s;="]+) *= *("(?:\\.|[^\\"])*"|[^\s;"]*)')
_CHARSETS = frozenset({'utf-8', 'iso-8859-1'})  # RFC 8187 §3.2.1, and its predecessor RFC 5987


class MultipartLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits for parsing one multipart form. The size of files is limited only by the size limit of the body."""

    parts: int = 1_000
    text: int = 1024 * 1024  # total bytes of all fields
    header: int = 4_096  # bytes of one header line of a part
    headers: int = 8  # header lines of one part


class FilePart(msgspec.Struct, frozen=True, kw_only=True):
    """One uploaded file of a multipart form: its position in the body, and its metadata."""

    name: str  # name of the form field
    filename: str  # as sent, '' if not given; never use it as a path
    content_type: str  # '' if not given
    headers: Mapping[str, str]  # by name in Title-Case
    start: int
    size: int


class MultipartForm(msgspec.Struct, frozen=True, kw_only=True):
    """The parsed content of a multipart form. The value of a repeated field is a list, in the order of the body."""

    fields: Mapping[str, str | list[str]]
    files: tuple[FilePart, ...]


def parse_boundary(content_type: bytes) -> str:
    """Return the boundary parameter of a Content-Type field. Raises Malformed."""
    from multipart import parse_options_header  # loaded with the first form

    field = content_type.decode('latin-1')
    kind, options = parse_options_header(field)
    _check_unique_parameters(field, 'Content-Type')
    boundary: str = options.get('boundary', '')
    if kind != CONTENT_TYPE.decode('ascii') or not boundary:
        raise Malformed('Content-Type names no boundary')
    if len(boundary) > _MAX_BOUNDARY_LENGTH or not boundary.isascii() or not boundary.isprintable():
        raise Malformed(f'the boundary is longer than {_MAX_BOUNDARY_LENGTH} characters or not printable ASCII')
    return boundary


def parse_multipart(
    chunks: Iterable[bytes], read_at: Callable[[int, int], bytes], boundary: str, limits: MultipartLimits
) -> MultipartForm:
    """Parse a multipart body. `read_at(start, size)` returns `size` bytes of the body from the position `start`. Raises
    Malformed."""
    from multipart import MultipartError, PushMultipartParser

    reader = _FormReader(limits)
    try:
        with PushMultipartParser(
            boundary, max_segment_count=limits.parts, max_header_size=limits.header,
            max_header_count=limits.headers,
        ) as parser:  # fmt: skip
            for piece in chunks:
                reader.process_events(parser.parse(piece))
    except MultipartError as error:
        raise Malformed(_describe_error(error, limits)) from None
    return MultipartForm(fields=reader.fields, files=tuple(_locate_files(reader.segments, read_at, boundary)))


class _FormReader:
    """Collects the values of fields, and the sizes of files."""

    def __init__(self, limits: MultipartLimits) -> None:
        self._limits = limits
        self._text_size = 0
        self._value: bytearray | None = None  # of the current field
        self.segments: list[Any] = []
        self.fields: dict[str, str | list[str]] = {}

    def process_events(self, events: Iterable[Any]) -> None:
        """Processes parser events: a segment, its data in pieces, None at its end."""
        for event in events:
            if event is None:
                self._end_part()
            elif isinstance(event, (bytes, bytearray)):
                if self._value is not None:
                    self._add_data(event)
            else:
                self._begin_part(event)

    def _begin_part(self, segment: Any) -> None:
        if segment.disposition != 'form-data' or not segment.name:
            raise Malformed('a part is not form-data with a name')
        _check_unique_parameters(segment.header('Content-Disposition', ''), 'a part')
        segment.filename = _filename(segment)
        self.segments.append(segment)
        self._value = None if _is_file(segment) else bytearray()

    def _add_data(self, piece: bytes | bytearray) -> None:
        self._text_size += len(piece)
        if self._text_size > self._limits.text:
            raise Malformed(f'the fields hold more than {self._limits.text} bytes, the limit here')
        assert self._value is not None
        self._value += piece

    def _end_part(self) -> None:
        value, self._value = self._value, None
        if value is None:
            return
        name = self.segments[-1].name
        try:
            text = value.decode('utf-8')
        except UnicodeDecodeError:
            raise Malformed(f'the field {name!r} is not UTF-8') from None
        existing = self.fields.get(name)
        if existing is None:
            self.fields[name] = text
        elif isinstance(existing, list):
            existing.append(text)
        else:
            self.fields[name] = [existing, text]


def _check_unique_parameters(field: str, where: str) -> None:
    """Raises Malformed for a duplicate parameter (RFC 6266 §4.1): another program inspecting the form might use the
    other value."""
    names = [name.lower() for name, _ in _PARAMETER.findall(field)]
    if len(names) > len(set(names)):
        raise Malformed(f'{where} says its {max(names, key=names.count)} twice')


def _is_file(segment: Any) -> bool:
    return segment.filename is not None or segment.content_type not in (None, 'text/plain')


def _filename(segment: Any) -> str | None:
    """Return the name of an uploaded file; None if the part is not a file. RFC 7578 §4.2 forbids `filename*`, but
    clients send it for non-ASCII names; it takes precedence over `filename` then (RFC 6266 §4.3)."""
    filename: str | None = segment.filename
    disposition = segment.header('Content-Disposition', '')
    if _EXTENDED not in disposition.lower():
        return filename
    extended = (value for name, value in _PARAMETER.findall(disposition) if name.lower() == _EXTENDED)
    return next(map(_decode_extended, extended), filename)


def _decode_extended(value: str) -> str:
    """Decode charset'language'text (RFC 8187 §3.2). Raises Malformed."""
    charset, _, rest = value.strip('"').partition("'")
    _, quote, text = rest.partition("'")
    try:
        if not quote or charset.lower() not in _CHARSETS:
            raise ValueError
        return unquote_to_bytes(text).decode(charset)
    except ValueError:
        raise Malformed('the filename* of a part cannot be read') from None


def _locate_files(segments: Iterable[Any], read_at: Callable[[int, int], bytes], boundary: str) -> Iterator[FilePart]:
    """Yield the files with their positions: each begins after the empty line that ends its headers."""
    end = 0  # end of the previous part
    for segment in segments:
        framing = read_at(end, len(boundary) + _MAX_HEADERS_SIZE)
        delimiter = framing.find(b'--' + boundary.encode('ascii'))  # not in the preamble before the first part
        if delimiter < 0:
            raise Malformed(f'there are more than {_MAX_HEADERS_SIZE} bytes before the first part')
        headers = framing.find(b'\r\n\r\n', delimiter)
        if headers < 0:
            raise Malformed(f'the headers of the part {segment.name!r} are longer than {_MAX_HEADERS_SIZE} bytes')
        start = end + headers + 4
        end = start + segment.size
        if _is_file(segment):
            yield FilePart(name=segment.name, filename=segment.filename or '', content_type=segment.content_type or '',
                       headers=dict(segment.headerlist), start=start, size=segment.size)


def _describe_error(error: Exception, limits: MultipartLimits) -> str:
    from multipart import ParserLimitReached

    text = str(error.args[0])  # further arguments are for developers
    message = text[:1].lower() + text[1:]
    if isinstance(error, ParserLimitReached):
        return (f'{message}: the limits here are {limits.parts} parts, {limits.headers} headers a part, '
                f'{limits.header} bytes a header')  # fmt: skip
    return message
