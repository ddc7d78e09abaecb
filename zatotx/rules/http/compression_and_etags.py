"""Compression (RFC 9110 §12.5.3) and entity tags (§8.8.3, §13.1.2) of HTTP responses: decides which apply to a
response. Pure: no I/O.
"""

from __future__ import annotations

from hashlib import blake2b

MIN_SIZE = 1024  # minimum body size in bytes for which compression pays off
_TEXT = b'text/'
_STREAM_OF_EVENTS = b'text/event-stream'  # event streams stay open for hours and would hold the compressor's memory
_TEXTUAL = frozenset({
    b'application/graphql', b'application/javascript', b'application/json', b'application/ndjson',
    b'application/x-javascript', b'application/x-ndjson', b'application/x-www-form-urlencoded', b'application/x-yaml',
    b'application/xml', b'application/yaml',
})  # fmt: skip


def accepts_gzip(accept_encoding: bytes | None) -> bool:
    """Return whether the client accepts gzip and does not prefer the uncompressed body."""
    if accept_encoding is None:
        return False
    quality = {}
    for part in accept_encoding.lower().split(b','):
        coding, _, parameters = part.partition(b';')
        quality[coding.strip()] = _quality(parameters)
    gzip = quality.get(b'gzip', quality.get(b'x-gzip', quality.get(b'*', 0.0)))
    return gzip > 0.0 and gzip >= quality.get(b'identity', 0.0)


def is_compressible(content_type: bytes) -> bool:
    """Return whether bodies of a content type are compressible text."""
    media_type = content_type.partition(b';')[0].strip().lower()
    if media_type.startswith(_TEXT):
        return media_type != _STREAM_OF_EVENTS
    return media_type in _TEXTUAL or media_type.endswith((b'+json', b'+xml'))


def _quality(parameters: bytes) -> float:
    """Return the quality value of a coding; an invalid one counts as 0."""
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


_WEAK = b'W/'


def compute_etag(body: bytes) -> bytes:
    """Return the strong entity tag of a body, which is a hash. Slow for large bodies: call it in a thread."""
    return b'"%b"' % blake2b(body, digest_size=16).hexdigest().encode('ascii')


def weaken_etag(tag: bytes) -> bytes:
    """Return the weak form of an entity tag, for equivalent content with different bytes, such as a compressed body."""
    return tag if tag.startswith(_WEAK) else _WEAK + tag


def is_etag(value: bytes) -> bool:
    """Return whether the value is a valid entity tag."""
    opaque = value.removeprefix(_WEAK)
    return len(opaque) >= 2 and opaque[:1] == opaque[-1:] == b'"' and b'"' not in opaque[1:-1]


def matches_if_none_match(if_none_match: bytes, tag: bytes) -> bool:
    """Return whether an If-None-Match field matches the entity tag by weak comparison; `*` matches any tag."""
    if if_none_match.strip() == b'*':
        return True
    return tag.removeprefix(_WEAK)[1:-1] in if_none_match.split(b'"')[1::2]
