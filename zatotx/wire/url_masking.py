"""Masks the secrets of URLs as `***` in logs, messages and reprs: passwords, and query parameters that contain keys."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote_plus

MASK = '***'
UNREADABLE = '(a URL that cannot be read)'
# Names of query parameters that carry keys, in lower case.
KEY_PARAMETERS = frozenset({
    'access_token', 'api-key', 'api_key', 'apikey', 'auth', 'auth_token', 'authorization', 'client_secret', 'id_token',
    'jwt', 'key', 'pass', 'passwd', 'password', 'pwd', 'refresh_token', 'secret', 'session', 'sig', 'signature',
    'token', 'x-api-key',
})  # fmt: skip

_IN_AUTHORITY = re.compile(r'(://[^/?#\s@:]*:)[^/?#\s]*(?=@)')  # scheme://user:PASSWORD@
_IN_QUERY = re.compile(r'([?&;](?:\w*(?:password|passwd|secret|token|api_?key))=)[^&;#\s]*', re.IGNORECASE)
_SECRET_NAME = re.compile(r'password|passwd|secret|token|api_?key|private_?key\Z', re.IGNORECASE)
_HOST_AND_PORT = re.compile(r'(\[[^\[\]]*\]|[^:\[\]]*)(:\d*)?')


def is_secret_name(name: str) -> bool:
    """Return whether the name of a setting or query parameter indicates that its value is a secret."""
    return _SECRET_NAME.search(name) is not None


def mask_urls(text: str) -> str:
    """Mask the passwords of all URLs in a text."""
    return _IN_QUERY.sub(rf'\1{MASK}', _IN_AUTHORITY.sub(rf'\1{MASK}', text))


def mask_url(url: str) -> str:
    """Mask the password of a URL. A URL that can be parsed in several ways is masked completely, because its password
    may contain an unescaped `@` or `/`."""
    if not _is_unambiguous(url):
        return UNREADABLE
    location, mark, query = url.partition('?')
    masked = _mask_query(query.encode('utf-8', 'surrogateescape'), is_secret_name)
    return _IN_AUTHORITY.sub(rf'\1{MASK}', location) + mark + masked.decode('utf-8', 'surrogateescape')


def _is_unambiguous(url: str) -> bool:
    scheme, separator, rest = url.partition('://')
    authority, _, path = rest.partition('?')[0].partition('/')
    if not separator or scheme.startswith('sqlite'):
        return bool(separator)
    host = authority.rpartition('@')[2]
    return authority.count('@') <= 1 and '@' not in path and _HOST_AND_PORT.fullmatch(host) is not None


def mask_request_target(target: bytes, names: frozenset[str] = KEY_PARAMETERS) -> bytes:
    """Mask the values of query parameters in an HTTP request target, and the user and password of an absolute URL.
    `names` are the names of the parameters, in lower case."""
    path, mark, query = target.partition(b'?')
    if b'@' in path:
        path = _mask_userinfo(path)
    return path + mark + _mask_query(query, names.__contains__)


def _mask_userinfo(url: bytes) -> bytes:
    scheme, separator, rest = url.partition(b'://')
    authority, slash, path = rest.partition(b'/')
    if not separator or b'@' not in authority:
        return url
    return b''.join((scheme, separator, MASK.encode(), b'@', authority.rpartition(b'@')[2], slash, path))


def _mask_query(query: bytes, is_secret: Callable[[str], bool]) -> bytes:
    return b'&'.join(_mask_pair(pair, is_secret) for pair in query.split(b'&'))


def _mask_pair(pair: bytes, is_secret: Callable[[str], bool]) -> bytes:
    """Mask the value of one query parameter. `is_secret` gets its name in lower case.

    Some clients separate parameters by `;`. The server treats `;` as part of a value, so the key may continue after it:
    everything from the first key's value to the end of the pair is replaced.
    """
    start = 0
    for part in pair.split(b';'):
        name, _, value = part.partition(b'=')
        # A name that is not ASCII may arrive unescaped: such a request is rejected, but its key may be valid.
        if value and is_secret(unquote_plus(name.decode('utf-8', 'replace')).strip().lower()):
            return pair[: start + len(name)] + b'=' + MASK.encode()
        start += len(part) + 1
    return pair
