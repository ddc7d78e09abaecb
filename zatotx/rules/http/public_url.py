"""Validates and joins public URLs: the base URLs under which clients reach this server, such as
https://api.example.com/esb. Pure: no I/O.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from zatotx.wire.http1.header_fields import is_authority

# characters other than letters and digits that a path may contain (RFC 3986 §3.3)
_PATH_CHARACTERS = frozenset("/-._~!$&'()*+,;=:@%")


def public_url_error(url: str) -> str:
    """Return an error message, as a clause, if a public URL is invalid, or '' if it is valid or empty."""
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
    if not all(c.isalnum() or c in _PATH_CHARACTERS for c in parts.path):
        return 'has a path with characters that must be percent-encoded'
    return 'must be without ? and #' if '?' in url or '#' in url else ''


def join_public_url(public_url: str, path: str) -> str:
    """Return the URL of a percent-encoded path below a public URL."""
    return f'{public_url.rstrip("/")}/{path.lstrip("/")}'
