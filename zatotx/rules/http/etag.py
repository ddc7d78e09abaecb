"""Entity tags (RFC 9110 §8.8.3) and If-None-Match (§13.1.2). Pure."""

from __future__ import annotations

from hashlib import blake2b

_WEAK = b'W/'


def compute_etag(body: bytes) -> bytes:
    """The strong tag of a body: another one for every other body. Takes its time with large ones: for threads."""
    return b'"%b"' % blake2b(body, digest_size=16).hexdigest().encode('ascii')


def weaken(tag: bytes) -> bytes:
    """The tag of what means the same but may differ in its bytes, such as a body in another coding."""
    return tag if tag.startswith(_WEAK) else _WEAK + tag


def is_etag(value: bytes) -> bool:
    """Whether a service wrote an entity tag."""
    opaque = value.removeprefix(_WEAK)
    return len(opaque) >= 2 and opaque[:1] == opaque[-1:] == b'"' and b'"' not in opaque[1:-1]


def matches_if_none_match(if_none_match: bytes, tag: bytes) -> bool:
    """Whether the client has what that tag is of, by the weak comparison; `*` = it has anything at all."""
    if if_none_match.strip() == b'*':
        return True
    return tag.removeprefix(_WEAK)[1:-1] in if_none_match.split(b'"')[1::2]
