"""Which proxy a call goes through: one that a connection names, or what the environment says, as curl and requests
read it. Pure.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes, urlsplit

from attrs import field, frozen

from zatotx.rules.http.no_proxy import NoProxy, parse_no_proxy
from zatotx.wire.http.host import Malformed, ascii_host

DIRECT, ENVIRONMENT = 'none', 'environment'  # what a connection may say instead of a URL


class UnusableProxy(ValueError):  # noqa: N818 - what it is
    """A proxy that calls cannot go through. The text says why, and nothing of its credentials."""


@frozen
class Proxy:
    """A proxy that is spoken to over plain TCP."""

    host: str
    port: int
    authorization: bytes = field(default=b'', repr=False)  # the value of Proxy-Authorization; b'' = none

    def __str__(self) -> str:
        return f'the proxy {self.host}:{self.port}'


@frozen(kw_only=True)
class ProxySelector:
    """How a connection's calls go out."""

    http: str = field(default='', repr=False)  # URL, may hold a password; '' = directly
    https: str = field(default='', repr=False)
    but: NoProxy = field(factory=NoProxy)

    def proxy(self, *, secure: bool, host: str, port: int) -> Proxy | None:
        """The proxy for a target (`host` as `ascii_host` gives it); None = directly. Raises Unusable for one that is
        named and will not do: going around it is for its owner to say."""
        url = self.https if secure else self.http
        if not url or self.but.covers(host, port):
            return None
        return parse_proxy(url)


def make_proxy_selector(setting: str, environ: Mapping[str, str]) -> ProxySelector:
    """What a connection's setting means: DIRECT, ENVIRONMENT, or the URL of a proxy that all its calls take, whatever
    NO_PROXY says. Raises Unusable for such a URL that will not do."""
    if setting == ENVIRONMENT:
        return environment(environ)
    if setting in ('', DIRECT):
        return ProxySelector()
    parse_proxy(setting)
    return ProxySelector(http=setting, https=setting, but=NoProxy(loopback=False))


def environment(environ: Mapping[str, str]) -> ProxySelector:
    """http_proxy, https_proxy, all_proxy and no_proxy; of two spellings the lower-case one counts."""

    def said(name: str) -> str:
        return (environ.get(name) or environ.get(name.upper()) or '').strip()

    everything = said('all_proxy')
    return ProxySelector(
        http=said('http_proxy') or everything,
        https=said('https_proxy') or everything,
        but=parse_no_proxy(said('no_proxy')),
    )


def parse_proxy(url: str) -> Proxy:
    """A proxy by its URL, `http://user:password@host:port`; `host:port` is the same without credentials, and port 80
    is meant where none stands. Raises Unusable."""
    if '://' not in url:
        url = f'http://{url}'
    try:
        parts = urlsplit(url)
        host, port = ascii_host(parts.hostname or ''), parts.port or 80
    except (Malformed, ValueError):
        raise UnusableProxy('its URL is not like http://host:port') from None
    if parts.scheme != 'http':
        raise UnusableProxy(f'it is of the kind {parts.scheme}, and only http:// is spoken to proxies')
    return Proxy(host, port, _authorization(parts.username, parts.password))


def _authorization(username: str | None, password: str | None) -> bytes:
    """Basic (RFC 7617), of what stands percent-encoded in a URL."""
    if username is None:
        return b''
    return b'Basic ' + b64encode(unquote_to_bytes(username) + b':' + unquote_to_bytes(password or ''))
