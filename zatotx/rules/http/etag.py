"""Entity tags (RFC 9110 §8.8.3) and If-None-Match (§13.1.2). Pure."""

from __future__ import annotations

from hashlib import blake2b

_WEAK = b'W/'


def compute_etag(body: bytes) -> bytes:
    """Returns the strong entity tag of a body, a hash. Slow for large bodies: call it in a thread."""
    return b'"%b"' % blake2b(body, digest_size=16).hexdigest().encode('ascii')


def weaken(tag: bytes) -> bytes:
    """Returns the weak form of a tag, for equivalent content with different bytes, such as a compressed body."""
    return tag if tag.startswith(_WEAK) else _WEAK + tag


def is_etag(value: bytes) -> bool:
    """Returns whether the value is a valid entity tag."""
    opaque = value.removeprefix(_WEAK)
    return len(opaque) >= 2 and opaque[:1] == opaque[-1:] == b'"' and b'"' not in opaque[1:-1]


def matches_if_none_match(if_none_match: bytes, tag: bytes) -> bool:
    """Returns whether If-None-Match contains the tag, by weak comparison; `*` matches any tag."""
    if if_none_match.strip() == b'*':
        return True
    return tag.removeprefix(_WEAK)[1:-1] in if_none_match.split(b'"')[1::2]
