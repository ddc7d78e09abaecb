"""Rewrites the head of a client's request into the head that is sent to a server. Pure functions.

Nothing of the client's head is forwarded as it was received: the request line and each field are written again from
parsed values, the framing from what the parser has found. Hop-by-hop fields (RFC 9110 §7.6.1) are removed, and so are
the fields in which proxies describe clients, unless the peer is a trusted proxy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from attrs import frozen

from zatotx.wire.http1.request_parser import RequestHead

# RFC 9110 §7.6.1, and Expect and Host, which are written from the parsed head.
_REMOVED = frozenset((
    b'connection', b'content-length', b'expect', b'host', b'http2-settings', b'keep-alive', b'proxy-connection', b'te',
    b'transfer-encoding', b'upgrade',
))
# Fields with which proxies describe their clients; also all others that begin with X-Forwarded-.
_DESCRIBES_CLIENT = frozenset((b'client-cert', b'client-cert-chain', b'forwarded', b'x-client-ip', b'x-real-ip'))
_X_FORWARDED = b'x-forwarded-'
_FOR, _PROTO, _HOST = b'x-forwarded-for', b'x-forwarded-proto', b'x-forwarded-host'
# Only the load balancer writes these: a trusted proxy may pass on what its client has sent.
_NEVER_KEPT = frozenset((b'client-cert', b'client-cert-chain'))
_UNKNOWN = b'unknown'
WEBSOCKET = b'websocket'
# Methods whose requests may be sent twice (RFC 9110 §9.2.2, and the safe methods of its registry).
IDEMPOTENT_METHODS = frozenset(
    {'GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE', 'QUERY', 'PROPFIND', 'REPORT', 'SEARCH'}
)


class ClientConnectionInfo(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The client-side connection information that is sent to servers, such as the client's address."""

    address: str  # an IP address, or 'unix'
    is_tls: bool
    is_trusted: bool  # a trusted proxy: what its requests say about their clients is kept
    listener: Callable[[], bytes]  # returns the authority of the listener: the Host of requests that have none
    certificate_lines: bytes = b''  # Client-Cert and Client-Cert-Chain, if the client's certificate was verified


@frozen(kw_only=True)
class RequestRewritingRules:
    """The rules for rewriting the heads of requests to one backend."""

    x_forwarded: bool = True  # whether X-Forwarded-For, -Proto and -Host are written
    forwarded: bool = False  # whether Forwarded is written
    removed: frozenset[bytes] = frozenset()  # lower-case names
    host: bytes = b''  # replaces Host; '' = it is kept
    added: bytes = b''  # field lines

    @classmethod
    def from_settings(
        cls, mode: str, removed: Iterable[str], added: Sequence[Mapping[str, str]]
    ) -> RequestRewritingRules:
        """Create rules from the setting `forwarded` of a frontend, and header rules of the frontend and the backend."""
        fields = {name.lower().encode('latin-1'): (name, value) for rules in added for name, value in rules.items()}
        host = fields.pop(b'host', ('', ''))[1]
        lines = [f'{name}: {value}\r\n'.encode('latin-1') for key, (name, value) in fields.items()
                 if key not in _REMOVED]  # fmt: skip
        names = frozenset(name.lower().encode('latin-1') for name in removed) | frozenset(fields)
        return cls(
            x_forwarded=mode in ('x-forwarded', 'both'), forwarded=mode in ('forwarded', 'both'),
            removed=names - {b'host'}, host=host.encode('latin-1'), added=b''.join(lines),
        )  # fmt: skip


def requests_websocket(head: RequestHead) -> bool:
    """Return whether a request asks for the WebSocket protocol (RFC 6455 §4.1). Other protocols are not tunneled,
    because a client could send unchecked requests after an upgrade to HTTP/2."""
    upgrade = head.headers.get(b'upgrade')
    if upgrade is None or upgrade.lower() != WEBSOCKET or head.version != (1, 1) or head.length != 0:
        return False
    return b'upgrade' in _connection_options(head)


def rewrite_request_head(head: RequestHead, peer: ClientConnectionInfo, rules: RequestRewritingRules) -> bytes:
    """Return the head of the request that is sent to a server, including the empty line."""
    removed = _REMOVED | rules.removed
    if b'connection' in head.headers:
        removed |= _connection_options(head)
    trusted = peer.is_trusted
    lines = []
    for name, value in head.raw_headers:
        key = name.lower()
        if key not in removed and not _is_stripped(key, rules, trusted=trusted):
            lines.append(b'%b: %b\r\n' % (name, value))
    host = rules.host or head.headers.get(b'host', b'') or peer.listener()
    return b'%b %b HTTP/1.1\r\nHost: %b\r\n%b%b%b%b%b' % (
        head.method.encode('ascii'), request_target(head), host, b''.join(lines), _forwarded_lines(head, peer, rules),
        peer.certificate_lines, rules.added, _framing(head),
    )  # fmt: skip


def request_target(head: RequestHead) -> bytes:
    """Return the request target in origin-form, or `*` (RFC 9112 §3.2)."""
    return head.path + b'?' + head.query if head.query or b'?' in head.target else head.path


def _is_stripped(key: bytes, rules: RequestRewritingRules, *, trusted: bool) -> bool:
    """Return whether a field describes the client and is not kept: those of a trusted proxy are kept, those that are
    written here aside."""
    if b'_' in key:
        key = key.replace(b'_', b'-')  # some servers treat both alike
    if not key.startswith(_X_FORWARDED) and key not in _DESCRIBES_CLIENT:
        return False
    if not trusted or key in _NEVER_KEPT:
        return True
    return rules.forwarded if key == b'forwarded' else rules.x_forwarded and key in (_FOR, _PROTO, _HOST)


def _connection_options(head: RequestHead) -> frozenset[bytes]:
    """Return the fields that Connection nominates, which are for this hop only."""
    value = head.headers.get(b'connection', b'')
    return frozenset(option.strip(b' \t') for option in value.lower().split(b','))


def _forwarded_lines(head: RequestHead, peer: ClientConnectionInfo, rules: RequestRewritingRules) -> bytes:
    lines = b''
    if rules.x_forwarded:
        lines = _x_forwarded_lines(head, peer)
    if rules.forwarded:
        element = _forwarded_element(head, peer)
        known = head.headers.get(b'forwarded') if peer.is_trusted else None
        lines += b'Forwarded: %b\r\n' % (known + b', ' + element if known else element)
    return lines


def _x_forwarded_lines(head: RequestHead, peer: ClientConnectionInfo) -> bytes:
    headers = head.headers
    address = _UNKNOWN if peer.address == 'unix' else peer.address.encode('ascii')
    proto = b'https' if peer.is_tls else b'http'
    host = headers.get(b'host', b'') or peer.listener()
    if peer.is_trusted:
        known = headers.get(_FOR)
        address = known + b', ' + address if known else address
        proto, host = headers.get(_PROTO) or proto, headers.get(_HOST) or host
    return b'X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n' % (address, proto, host)


def _forwarded_element(head: RequestHead, peer: ClientConnectionInfo) -> bytes:
    """Return an element of Forwarded (RFC 7239 §4)."""
    address = peer.address
    node = _UNKNOWN if address == 'unix' else (f'"[{address}]"' if ':' in address else address).encode('ascii')
    host = head.headers.get(b'host', b'') or peer.listener()
    return b'for=%b;host="%b";proto=%b' % (node, host, b'https' if peer.is_tls else b'http')


def _framing(head: RequestHead) -> bytes:
    """Return the fields of the connection and of the framing, and the empty line."""
    if head.length is None:
        lines = b'Transfer-Encoding: chunked\r\n'
    elif head.length or b'content-length' in head.headers:
        lines = b'Content-Length: %d\r\n' % head.length
    else:
        lines = b''
    if head.expects and head.length != 0:
        lines += b'Expect: 100-continue\r\n'
    if requests_websocket(head):
        lines += b'Connection: Upgrade\r\nUpgrade: websocket\r\n'
    return lines + b'\r\n'
