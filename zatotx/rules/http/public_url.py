"""URLs under which clients reach this server, as administrators write them: https://api.example.com/esb. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

from zatotx.wire.http1.fields import is_authority

_PLAIN = frozenset("/-._~!$&'()*+,;=:@%")  # beside letters and digits, what a path may hold (RFC 3986 §3.3)


def public_url_error(url: str) -> str:
    """What is wrong with one, as the rest of a sentence; '' = nothing, which '' has too."""
    if not url:
        return ''
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ('http', 'https') and url.isascii() and is_authority(parts.netloc.encode('ascii'))
        usable = usable and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        return 'must be a URL like https://api.example.com'
    if not all(c.isalnum() or c in _PLAIN for c in parts.path):
        return 'has a path with characters that must be percent-encoded'
    return 'must be without ? and #' if '?' in url or '#' in url else ''


def join_public_url(public_url: str, path: str) -> str:
    """The URL of a path (percent-encoded) under it."""
    return f'{public_url.rstrip("/")}/{path.lstrip("/")}'
