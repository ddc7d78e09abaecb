"""Encodes a form with files as a browser does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

BOUNDARY = 'zatotx-testing-boundary'
CONTENT_TYPE = f'multipart/form-data; boundary={BOUNDARY}'.encode('ascii')

File = bytes | tuple[str, bytes] | tuple[str, bytes, str]  # content; or file name, content, content type


def encode_multipart(fields: Mapping[str, Any], files: Mapping[str, File | list[File]]) -> bytes:
    """Return the multipart body. Values of fields are text or lists of text.

    Raises ValueError if a file contains the boundary.
    """
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
    for name, content_or_list in files.items():
        for file in content_or_list if isinstance(content_or_list, list) else [content_or_list]:
            filename, content, *content_type = (name, file) if isinstance(file, bytes) else file
            head = _head(name, f'; filename="{filename}"')
            yield (
                head + f'\r\nContent-Type: {content_type[0] if content_type else "application/octet-stream"}'.encode(),
                content,
            )


def _head(name: str, parameters: str = '') -> bytes:
    return f'Content-Disposition: form-data; name="{name}"{parameters}'.encode()
