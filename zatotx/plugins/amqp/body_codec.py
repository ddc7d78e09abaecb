"""Encodes and decodes the bodies of AMQP messages, including content encodings."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import msgspec

GZIP = 'gzip'
JSON, TEXT, BYTES = 'application/json', 'text/plain', 'application/octet-stream'
_ENCODINGS = {'': 0, 'identity': 0, 'utf-8': 0, 'utf8': 0, 'binary': 0, GZIP: zlib.MAX_WBITS | 16,
              'x-gzip': zlib.MAX_WBITS | 16, 'deflate': zlib.MAX_WBITS}  # fmt: skip


class InvalidBody(ValueError):  # noqa: N818 - what it is
    """A body cannot be encoded or decoded. The message gives the reason, as a clause."""


def encode_body(value: Any, content_encoding: str) -> tuple[bytes, str]:
    """Encode the value that a service sends, and return the encoded bytes and their content type. Bytes are not
    changed, text is encoded as UTF-8, and other values are encoded as JSON. If `content_encoding` is gzip, text and
    JSON are compressed. Raises InvalidBody."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value), BYTES
    if isinstance(value, str):
        body, content_type = value.encode('utf-8', 'surrogatepass'), TEXT
    else:
        try:
            body, content_type = msgspec.json.encode(value), JSON
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidBody(f'{type(value).__name__} cannot be sent: {error}') from None
    if content_encoding.lower() == GZIP:
        return gzip.compress(body, 6, mtime=0), content_type
    return body, content_type


def decode_body(body: bytes, content_encoding: str | None, max_size: int) -> bytes:
    """Decode the content encoding of a received message body. `max_size` is the maximum size of the decoded body in
    bytes. Raises InvalidBody."""
    bits = _ENCODINGS.get((content_encoding or '').strip().lower())
    if bits is None:
        raise InvalidBody(f'its content encoding {str(content_encoding)[:50]!r} is not known: gzip and deflate are')
    if not bits:
        return body
    decompressor = zlib.decompressobj(bits)
    try:
        decoded = decompressor.decompress(body, max_size + 1)
    except zlib.error as error:
        raise InvalidBody(f'its body is not {content_encoding}: {error}') from None
    if len(decoded) > max_size:
        raise InvalidBody(f'its body has more than {max_size} bytes when it is decompressed')
    if not decompressor.eof:
        raise InvalidBody(f'its {content_encoding} body is cut off')
    return decoded
