"""Heads as they are written for servers and clients, and the routing of requests."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from zatotx.lb.config.model import RoutingRule
from zatotx.lb.http.request_rewriting import (
    ClientConnectionInfo,
    RequestRewritingRules,
    requests_websocket,
    rewrite_request_head,
)
from zatotx.lb.http.response_rewriting import KEEP_ALIVE, ResponseRewritingRules, rewrite_response_head
from zatotx.lb.http.routing import CompiledRoutingRule, choose_backend
from zatotx.wire.http1.request_parser import HttpParserLimits, RequestHead, RequestParser
from zatotx.wire.http1.response_parser import RESPONSE_LIMITS, parse_response_head

PLAIN = RequestRewritingRules(x_forwarded=False)


def parsed(text: bytes) -> RequestHead:
    """The parsed head of a request."""
    parser = RequestParser(HttpParserLimits())
    parser.feed(text)
    head = parser.next()
    assert isinstance(head, RequestHead)
    return head


def get(*lines: bytes, target: bytes = b'/') -> RequestHead:
    """A GET request with these fields."""
    return parsed(b'\r\n'.join((b'GET %b HTTP/1.1' % target, b'Host: x.example', *lines, b'', b'')))


def peer(**fields: Any) -> ClientConnectionInfo:
    """The peer of a connection."""
    known: dict[str, Any] = {'address': '203.0.113.9', 'is_tls': False, 'is_trusted': False,
                             'listener': lambda: b'10.0.0.1:80'}  # fmt: skip
    return ClientConnectionInfo(**known | fields)


def written(head: RequestHead, rules: RequestRewritingRules = PLAIN, **fields: Any) -> list[bytes]:
    """The lines of the head for the server, without the first two."""
    text = rewrite_request_head(head, peer(**fields), rules)
    assert text.endswith(b'\r\n\r\n')
    return text.split(b'\r\n')[2:-2]


class RequestTests(SynchronousTestCase):
    def test_targets(self) -> None:
        """Targets are written in origin-form, with their query, and without a fragment."""
        for target, expected in ((b'/a?b', b'/a?b'), (b'/a?', b'/a?'), (b'/a#b', b'/a'), (b'http://y:8/a?b', b'/a?b'),
                                 (b'http://y', b'/')):  # fmt: skip
            text = rewrite_request_head(get(target=target), peer(), PLAIN)
            self.assertTrue(text.startswith(b'GET %b HTTP/1.1\r\n' % expected), text)
        self.assertIn(b'\r\nHost: y:8\r\n', rewrite_request_head(get(target=b'http://y:8/'), peer(), PLAIN))

    def test_hop_by_hop_fields(self) -> None:
        """Fields for this hop only are removed, also those that Connection nominates; Host stays."""
        head = get(b'Connection: keep-alive, X-Hop, Host', b'Keep-Alive: 5', b'X-Hop: 1', b'TE: trailers', b'X-End: 2',
                   b'Proxy-Connection: close', b'Upgrade: h2c')  # fmt: skip
        self.assertEqual(written(head), [b'X-End: 2'])
        self.assertIn(b'\r\nHost: x.example\r\n', rewrite_request_head(head, peer(), PLAIN))

    def test_repeated_fields_stay_apart(self) -> None:
        """Order, spelling and repetition of fields are kept."""
        lines = (b'Cookie: a=b', b'x-A: 1', b'X-a: 2', b'Cookie: c=d')
        self.assertEqual(written(get(*lines)), list(lines))

    def test_framing(self) -> None:
        """The framing is what the parser has found."""
        for lines, expected in (
            (b'Content-Length: 007\r\n', [b'Content-Length: 7']), (b'Content-Length: 0\r\n', [b'Content-Length: 0']),
            (b'transfer-encoding: chunked\r\n', [b'Transfer-Encoding: chunked']), (b'', []),
            (b'Expect: 100-Continue\r\nContent-Length: 3\r\n', [b'Content-Length: 3', b'Expect: 100-continue']),
            (b'Expect: 100-continue\r\nContent-Length: 0\r\n', [b'Content-Length: 0']),
        ):  # fmt: skip
            head = parsed(b'POST / HTTP/1.1\r\nHost: x\r\n%b\r\n' % lines)
            self.assertEqual(written(head), expected)

    def test_websocket(self) -> None:
        """Only a complete request for WebSocket is one, without a body and in HTTP/1.1."""
        lines = (b'Connection: Upgrade', b'Upgrade: websocket')
        self.assertTrue(requests_websocket(get(*lines)))
        self.assertEqual(written(get(*lines)), [b'Connection: Upgrade', b'Upgrade: websocket'])
        for head in (get(lines[0]), get(lines[1]), get(*lines, b'Content-Length: 3'),
                     get(lines[0], b'Upgrade: websocket, h2c'),
                     parsed(b'GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')):  # fmt: skip
            self.assertFalse(requests_websocket(head))


class ForwardedTests(SynchronousTestCase):
    claims = (b'X-Forwarded-For: 1.1.1.1', b'X-Forwarded-Proto: https', b'X-Forwarded-Host: evil', b'X-Forwarded-By: z',
              b'Forwarded: for=1.1.1.1', b'X-Real-IP: 1.1.1.1', b'X_Real_IP: 1.1.1.1')  # fmt: skip

    def test_claims_of_clients_are_stripped(self) -> None:
        """What a client says about its address is replaced, also in spellings that some servers take for the same."""
        own = [b'X-Forwarded-For: 203.0.113.9', b'X-Forwarded-Proto: http', b'X-Forwarded-Host: x.example']
        self.assertEqual(written(get(*self.claims), RequestRewritingRules()), own)
        self.assertEqual(written(get(*self.claims), PLAIN), [])

    def test_trusted_proxies_are_appended_to(self) -> None:
        """The chain of a trusted proxy goes on; its scheme and host are kept, and other fields too."""
        self.assertEqual(written(get(*self.claims[:4], *self.claims[5:6]), RequestRewritingRules(), is_trusted=True), [
            b'X-Forwarded-By: z', b'X-Real-IP: 1.1.1.1', b'X-Forwarded-For: 1.1.1.1, 203.0.113.9',
            b'X-Forwarded-Proto: https', b'X-Forwarded-Host: evil',
        ])  # fmt: skip
        self.assertEqual(written(get(), RequestRewritingRules(), is_trusted=True)[0], b'X-Forwarded-For: 203.0.113.9')

    def test_forwarded(self) -> None:
        """RFC 7239: an element for each proxy, IPv6 in brackets and quotes."""
        rules = RequestRewritingRules.from_settings('forwarded', (), ())
        self.assertEqual(written(get(b'Forwarded: for=1.1.1.1'), rules, is_tls=True),
                         [b'Forwarded: for=203.0.113.9;host="x.example";proto=https'])  # fmt: skip
        self.assertEqual(written(get(b'Forwarded: for=1.1.1.1'), rules, is_trusted=True, address='2001:db8::1'),
                         [b'Forwarded: for=1.1.1.1, for="[2001:db8::1]";host="x.example";proto=http'])  # fmt: skip
        self.assertEqual(len(written(get(), RequestRewritingRules.from_settings('both', (), ()))), 4)

    def test_unix_sockets(self) -> None:
        """A peer on a Unix socket has no address."""
        self.assertIn(b'X-Forwarded-For: unknown', written(get(), RequestRewritingRules(), address='unix'))

    def test_client_certificates(self) -> None:
        """RFC 9440: only the load balancer writes these fields, whoever the peer is."""
        claims = (b'Client-Cert: :AAAA:', b'Client-Cert-Chain: :AAAA:', b'Client_Cert: :AAAA:')
        for trusted in (False, True):
            self.assertEqual(written(get(*claims), is_trusted=trusted), [])
        self.assertEqual(written(get(*claims), certificate_lines=b'Client-Cert: :b3du:\r\n'),
                         [b'Client-Cert: :b3du:'])  # fmt: skip

    def test_rules(self) -> None:
        """Set fields replace those of the client, later rules earlier ones, and never the framing."""
        rules = RequestRewritingRules.from_settings(
            'none', ['X-Old'], [{'X-A': '1', 'Host': 'in', 'Content-Length': '9'}, {'x-a': '2'}]
        )
        head = get(b'X-A: 0', b'x-old: 1', b'X-B: 3')
        self.assertEqual(written(head, rules), [b'X-B: 3', b'x-a: 2'])
        self.assertIn(b'\r\nHost: in\r\n', rewrite_request_head(head, peer(), rules))


class ResponseTests(SynchronousTestCase):
    def rewritten(self, text: bytes, method: str = 'GET', rules: ResponseRewritingRules | None = None) -> bytes:
        head = parse_response_head(method, text, RESPONSE_LIMITS)
        return rewrite_response_head(
            head,
            rules or ResponseRewritingRules(),
            KEEP_ALIVE,
            is_chunked=head.length is None,
            has_body=method != 'HEAD',
        )

    def test_fields(self) -> None:
        """Fields for this hop are removed, others keep order and repetition."""
        self.assertEqual(
            self.rewritten(b'HTTP/1.0 200 Fine\r\nSet-Cookie: a\r\nConnection: X-Hop\r\nX-Hop: 1\r\nSet-Cookie: b\r\n'
                           b'Keep-Alive: 5\r\nContent-Length: 03\r\n\r\n'),
            b'HTTP/1.1 200 Fine\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 3\r\n\r\n',
        )  # fmt: skip

    def test_framing(self) -> None:
        """A response without a length is chunked; one to HEAD keeps the length of the body."""
        self.assertIn(b'Transfer-Encoding: chunked', self.rewritten(b'HTTP/1.1 200 OK\r\n\r\n'))
        self.assertIn(b'Content-Length: 3', self.rewritten(b'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n', 'HEAD'))
        self.assertNotIn(b'Transfer', self.rewritten(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', 'HEAD'))
        self.assertNotIn(b'Content-Length', self.rewritten(b'HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n'))

    def test_rules(self) -> None:
        """Fields are set and removed."""
        rules = ResponseRewritingRules.from_settings(['Server'], [{'X-A': '1', 'Connection': 'close'}])
        text = b'HTTP/1.1 200 OK\r\nServer: x\r\nX-a: 0\r\nContent-Length: 0\r\n\r\n'
        self.assertEqual(self.rewritten(text, rules=rules), b'HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 0\r\n\r\n')


class RoutingTests(SynchronousTestCase):
    def chosen(self, head: RequestHead, *routes: dict[str, Any]) -> str:
        """The number of the rule that matches, '' if none does."""
        compiled = [
            CompiledRoutingRule.from_route(RoutingRule(backend=str(n), **fields)) for n, fields in enumerate(routes)
        ]
        return choose_backend(compiled, '', head)

    def test_first_match_wins(self) -> None:
        """Rules are tried in order; one without conditions matches everything."""
        self.assertEqual(self.chosen(get(target=b'/b'), {'path': '/a'}, {'path': '/b'}, {}), '1')
        self.assertEqual(self.chosen(get(target=b'/c'), {'path': '/a'}, {'path': '/b'}, {}), '2')

    def test_paths(self) -> None:
        """A prefix matches whole segments; `$` makes it the whole path."""
        for path, target, matches in (
            ('/a', b'/a', True), ('/a', b'/a/b', True), ('/a', b'/ab', False), ('/a/', b'/a', True), ('/', b'/x', True),
            ('/a$', b'/a', True), ('/a$', b'/a/b', False), ('/a$', b'/a?b', True),
        ):  # fmt: skip
            self.assertEqual(self.chosen(get(target=target), {'path': path}), '0' if matches else '', (path, target))

    def test_hosts(self) -> None:
        """Hosts are compared without port and case; `*.` matches subdomains only."""
        def at(host: bytes) -> RequestHead:
            return parsed(b'GET / HTTP/1.1\r\nHost: %b\r\n\r\n' % host)

        for host, asked, matches in (
            ('a.example', b'A.EXAMPLE:80', True), ('a.example', b'a.example.', True),
            ('a.example', b'b.example', False), ('*.example', b'a.b.example', True),
            ('*.example', b'example', False), ('[::1]', b'[::1]:80', True),
        ):  # fmt: skip
            self.assertEqual(self.chosen(at(asked), {'host': host}), '0' if matches else '', (host, asked))

    def test_headers(self) -> None:
        """Fields must have the value, or any value."""
        head = get(b'X-Env: test')
        self.assertEqual(self.chosen(head, {'headers': {'x-env': 'prod'}}, {'headers': {'X-ENV': 'test'}}), '1')
        self.assertEqual(self.chosen(head, {'headers': {'X-None': '*'}}, {'headers': {'X-Env': '*'}}), '1')
