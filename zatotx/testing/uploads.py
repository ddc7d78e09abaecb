"""A form with files, as a browser would send it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

BOUNDARY = 'zatotx-testing-boundary'
CONTENT_TYPE = f'multipart/form-data; boundary={BOUNDARY}'.encode('ascii')

File = bytes | tuple[str, bytes] | tuple[str, bytes, str]  # content; or file name, content, content type


def upload(fields: Mapping[str, Any], files: Mapping[str, File | list[File]]) -> bytes:
    """The body. Values of fields are text, or lists of it. Raises ValueError where a file holds the boundary."""
    parts = [*_fields(fields), *_files(files)]
    if any(BOUNDARY.encode('ascii') in content for _, content in parts):
        raise ValueError(f'A file of a test must not hold {BOUNDARY}')
    body = b''.join(b'--%b\r\n%b\r\n\r\n%b\r\n' % (BOUNDARY.encode('ascii'), head, content) for head, content in parts)
    return body + b'--%b--\r\n' % BOUNDARY.encode('ascii')


def _fields(fields: Mapping[str, Any]) -> Iterator[tuple[bytes, bytes]]:
    for name, value in fields.items():
        for text in value if isinstance(value, list) else [value]:
            yield _head(name), str(text).encode('utf-8')


def _files(files: Mapping[str, File | list[File]]) -> Iterator[tuple[bytes, bytes]]:
    for name, given in files.items():
        for file in given if isinstance(given, list) else [given]:
            filename, content, *more = (name, file) if isinstance(file, bytes) else file
            head = _head(name, f'; filename="{filename}"')
            yield head + f'\r\nContent-Type: {more[0] if more else "application/octet-stream"}'.encode(), content


def _head(name: str, also: str = '') -> bytes:
    return f'Content-Disposition: form-data; name="{name}"{also}'.encode()
