"""Decides whether to compress a response: by what the client accepts (RFC 9110 §12.5.3) and by the content type.
Pure."""

from __future__ import annotations

MIN_SIZE = 1024  # minimum body size in bytes for which compression pays off
_TEXT = b'text/'
_STREAM_OF_EVENTS = b'text/event-stream'  # event streams stay open for hours and would hold the compressor's memory
_TEXTUAL = frozenset({
    b'application/graphql', b'application/javascript', b'application/json', b'application/ndjson',
    b'application/x-javascript', b'application/x-ndjson', b'application/x-www-form-urlencoded', b'application/x-yaml',
    b'application/xml', b'application/yaml',
})  # fmt: skip


def accepts_gzip(accept_encoding: bytes | None) -> bool:
    """Returns whether the client accepts gzip and does not prefer the uncompressed body."""
    if accept_encoding is None:
        return False
    quality = {}
    for part in accept_encoding.lower().split(b','):
        coding, _, parameters = part.partition(b';')
        quality[coding.strip()] = _quality(parameters)
    gzip = quality.get(b'gzip', quality.get(b'x-gzip', quality.get(b'*', 0.0)))
    return gzip > 0.0 and gzip >= quality.get(b'identity', 0.0)


def is_compressible(content_type: bytes) -> bool:
    """Returns whether bodies of that content type are compressible text."""
    media_type = content_type.partition(b';')[0].strip().lower()
    if media_type.startswith(_TEXT):
        return media_type != _STREAM_OF_EVENTS
    return media_type in _TEXTUAL or media_type.endswith((b'+json', b'+xml'))


def _quality(parameters: bytes) -> float:
    """Returns the quality value of a coding; an invalid one counts as 0."""
    name, _, value = parameters.partition(b'=')
    if not name.strip():
        return 1.0
    if name.strip() != b'q':
        return 0.0
    try:
        quality = float(value.strip())
    except ValueError:
        return 0.0
    return quality if 0.0 <= quality <= 1.0 else 0.0
