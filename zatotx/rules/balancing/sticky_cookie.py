"""Creates the sticky cookie, which directs all requests of a client to the same server without any state in the load
balancer. Pure: no I/O.
"""

from __future__ import annotations

from hashlib import blake2b

_ALLOWED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~")


def make_cookie_name(name: str, cluster: str) -> str:
    """Return the name of the cookie. The name contains the cluster, because browsers share cookies among all ports of a
    host; characters that are invalid in a cookie name become '_'."""
    return f'{name}-{"".join(c if c in _ALLOWED else "_" for c in cluster)}'


def make_cookie_value(cluster: str, backend: str, server: str) -> str:
    """Return the cookie value that identifies a server. It is the same in every process and after a restart, and does
    not reveal the server's name."""
    text = '\0'.join((cluster, backend, server))
    return blake2b(text.encode('utf-8', 'surrogateescape'), digest_size=8, person=b'zato-lb').hexdigest()
