"""Routes requests to backends by host, path and header fields. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from zatotx.lb.config.model import RoutingRule
from zatotx.wire.http1.request_parser import RequestHead

ANY_VALUE = '*'
_SUBDOMAINS = '*.'


@frozen
class CompiledRoutingRule:
    """A routing rule that is compiled for matching request heads."""

    backend: str
    host: str  # lower case; '' = any
    is_subdomain: bool  # `host` is the domain, with its leading dot, of which any subdomain matches
    path: bytes
    is_whole_path: bool
    headers: tuple[tuple[bytes, bytes | None], ...]  # None = any value

    @classmethod
    def from_route(cls, route: RoutingRule) -> CompiledRoutingRule:
        """Compile a rule of the configuration."""
        is_subdomain = route.host.startswith(_SUBDOMAINS)
        path = route.path.encode()
        is_whole_path = path.endswith(b'$')
        return cls(
            route.backend, route.host.lower().removeprefix('*'), is_subdomain,
            path[:-1] if is_whole_path else path.rstrip(b'/'), is_whole_path,
            tuple((name.lower().encode('latin-1'), None if value == ANY_VALUE else value.encode('latin-1'))
                  for name, value in route.headers.items()),
        )  # fmt: skip

    def matches(self, head: RequestHead, host: str) -> bool:
        """Return whether a request, whose host is given in lower case and without its port, matches."""
        if self.host and not (host.endswith(self.host) if self.is_subdomain else host == self.host):
            return False
        path = head.path
        if self.is_whole_path:
            if path != self.path:
                return False
        elif self.path and not (path.startswith(self.path) and path[len(self.path) : len(self.path) + 1] in b'/'):
            return False
        headers = head.headers
        return all(
            name in headers and (value is None or headers[name] == value) for name, value in self.headers
        )


def request_host(head: RequestHead) -> str:
    """Return the host of a request in lower case, without the port and a trailing dot."""
    host = head.headers.get(b'host', b'').decode('latin-1').lower()
    if host[:1] == '[':
        return host.partition(']')[0] + ']'
    return host.partition(':')[0].removesuffix('.')


def choose_backend(routes: Sequence[CompiledRoutingRule], default: str, head: RequestHead) -> str:
    """Return the backend of the first matching rule, or `default` if no rule matches. The name '' means that there is
    no backend."""
    if not routes:
        return default
    host = request_host(head)
    return next((route.backend for route in routes if route.matches(head, host)), default)
