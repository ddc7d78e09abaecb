"""Selects the proxy of an outgoing call: the proxy that is configured for the connection, or the proxy in the
environment variables that curl and requests also use. Pure functions.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import unquote_to_bytes, urlsplit

from attrs import field, frozen

from zatotx.wire.http.host_names import Malformed, is_address, is_loopback, normalize_host

# Parses NO_PROXY: the hosts that are reached without a proxy. Pure.
#
# There is no standard for its syntax. This supports what curl, requests and Go support; where they differ, the
# interpretation that connects directly wins: `example.com`, `.example.com` and `*.example.com` all mean the domain
# and its subdomains.

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


@frozen
class DomainPattern:
    """A NO_PROXY pattern for a domain and its subdomains. A `port` of 0 matches any port."""

    name: str
    port: int = 0

    def matches(self, host: str, port: int) -> bool:
        return self.port in (0, port) and (host == self.name or host.endswith('.' + self.name))


@frozen
class NetworkPattern:
    """A NO_PROXY pattern for an IP network. A `port` of 0 matches any port."""

    network: IPNetwork
    port: int = 0

    def matches(self, address: IPAddress, port: int) -> bool:
        return self.port in (0, port) and address in self.network


@frozen
class NoProxy:
    """A parsed NO_PROXY variable. Loopback addresses always match, because a loopback address that is sent to a proxy
    would refer to the machine of the proxy."""

    all_hosts: bool = False
    domains: tuple[DomainPattern, ...] = ()
    networks: tuple[NetworkPattern, ...] = ()
    include_loopback: bool = True

    def matches(self, host: str, port: int) -> bool:
        """Return whether to connect to this host (as returned by `normalize_host`) directly. Does not resolve names."""
        if self.all_hosts or (self.include_loopback and is_loopback(host)):
            return True
        if is_address(host):
            address = ip_address(host)
            return any(block.matches(address, port) for block in self.networks)
        name = host.removesuffix('.')
        return any(domain.matches(name, port) for domain in self.domains)


def parse_no_proxy(text: str) -> NoProxy:
    """Parse a NO_PROXY variable: entries separated by commas or spaces. Invalid entries match nothing, as in other
    implementations."""
    entries = text.replace(',', ' ').split()
    patterns = [pattern for entry in entries if (pattern := _parse_entry(entry)) is not None]
    return NoProxy(
        '*' in entries,
        tuple(pattern for pattern in patterns if isinstance(pattern, DomainPattern)),
        tuple(pattern for pattern in patterns if isinstance(pattern, NetworkPattern)),
    )


def _parse_entry(entry: str) -> DomainPattern | NetworkPattern | None:
    """Parse one entry other than `*`."""
    host, port = _split_port(entry)
    if (network := _parse_network(host.strip('[]'))) is not None:
        return NetworkPattern(network, port)
    try:
        return DomainPattern(normalize_host(host.removeprefix('*').strip('.')), port)
    except Malformed:
        return None


def _split_port(entry: str) -> tuple[str, int]:
    """Split off the port; an IPv6 address has one only after brackets."""
    host, colon, port = entry.rpartition(':')
    if colon and port.isdigit() and (':' not in host or host.endswith(']')):
        return host, int(port)
    return entry, 0


def _parse_network(text: str) -> IPNetwork | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


DIRECT, ENVIRONMENT = 'none', 'environment'  # values of a connection's setting other than a URL


class UnusableProxy(ValueError):  # noqa: N818 - named for the condition
    """The proxy cannot be used. The message gives the reason, without the proxy's credentials."""


@frozen
class Proxy:
    """An HTTP proxy reached over plain TCP."""

    host: str
    port: int
    authorization: bytes = field(default=b'', repr=False)  # the value of Proxy-Authorization; b'' = none

    def __str__(self) -> str:
        return f'the proxy {self.host}:{self.port}'


@frozen(kw_only=True)
class ProxySelector:
    """Selects the proxy for the calls of a connection."""

    http: str = field(default='', repr=False)  # URL, may contain a password; '' = connect directly
    https: str = field(default='', repr=False)
    no_proxy: NoProxy = field(factory=NoProxy)

    def select(self, *, secure: bool, host: str, port: int) -> Proxy | None:
        """Return the proxy for a target (`host` as returned by `normalize_host`), or None to connect directly. Raises
        UnusableProxy if the configured proxy cannot be used, rather than bypassing it."""
        url = self.https if secure else self.http
        if not url or self.no_proxy.matches(host, port):
            return None
        return parse_proxy(url)


def make_proxy_selector(setting: str, environ: Mapping[str, str]) -> ProxySelector:
    """Return the selector for a connection's setting: DIRECT, ENVIRONMENT, or the URL of a proxy for all calls, for
    which NO_PROXY is ignored. Raises UnusableProxy if the URL cannot be used."""
    if setting == ENVIRONMENT:
        return proxies_from_environment(environ)
    if setting in ('', DIRECT):
        return ProxySelector()
    parse_proxy(setting)
    return ProxySelector(http=setting, https=setting, no_proxy=NoProxy(include_loopback=False))


def proxies_from_environment(environ: Mapping[str, str]) -> ProxySelector:
    """Read the proxies from the variables http_proxy, https_proxy, all_proxy and no_proxy; lower-case names take
    precedence."""

    def variable(name: str) -> str:
        return (environ.get(name) or environ.get(name.upper()) or '').strip()

    fallback = variable('all_proxy')
    return ProxySelector(
        http=variable('http_proxy') or fallback,
        https=variable('https_proxy') or fallback,
        no_proxy=parse_no_proxy(variable('no_proxy')),
    )


def parse_proxy(url: str) -> Proxy:
    """Parse the URL of a proxy, `http://user:password@host:port` or `host:port`; the default port is 80. Raises
    UnusableProxy."""
    if '://' not in url:
        url = f'http://{url}'
    try:
        parts = urlsplit(url)
        host, port = normalize_host(parts.hostname or ''), parts.port or 80
    except (Malformed, ValueError):
        raise UnusableProxy('its URL is not like http://host:port') from None
    if parts.scheme != 'http':
        raise UnusableProxy(f'it is of the kind {parts.scheme}, and only http:// is spoken to proxies')
    return Proxy(host, port, _authorization(parts.username, parts.password))


def _authorization(username: str | None, password: str | None) -> bytes:
    """Return Basic credentials (RFC 7617) from the percent-encoded user information of a URL."""
    if username is None:
        return b''
    return b'Basic ' + b64encode(unquote_to_bytes(username) + b':' + unquote_to_bytes(password or ''))
