"""Redirects of outgoing HTTP: which are followed, and what is not sent along."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.authority import Authority
from zatotx.connectors.tls_client import TlsClientFactory
from zatotx.connectors.tls_settings import TlsSettings
from zatotx.plugins.http.client.connector import AddressResolver, Connector
from zatotx.plugins.http.client.errors import BadRedirect, TooManyRedirects, TotalTimeout
from zatotx.plugins.http.client.http_messages import BodyStream, HttpRequest, Origin
from zatotx.plugins.http.client.request_writer import IteratorBody
from zatotx.plugins.http.test.upstream_servers import (
    Answering,
    Peer,
    Request,
    Timeouts,
    WithPeers,
    get,
    post,
    raw,
    reactor,
    says,
    server_tls,
    silent,
)
from zatotx.rules.http.dns_cache import AddressScope, address_scope
from zatotx.rules.http.proxy_selection import ProxySelector
from zatotx.rules.http.redirects import (
    RedirectedRequest,
    RedirectError,
    RedirectTarget,
    follow_redirect,
    is_body_field,
    is_credential_field,
    parse_redirect_target,
)

SECRETS = [
    (b'Authorization', b'Basic x'), (b'Cookie', b'a=b'), (b'X-API-Key', b'k'), (b'X-Zato-User', b'u'),
    (b'X-Partner', b'p'),
]  # fmt: skip
OPEN = [(b'X-Zato-CID', b'1'), (b'Accept', b'application/json')]


def sends_to(location: str, status: bytes = b'302 Found') -> Answering:
    return says(status, b'moved', b'Location: ' + location.encode())


class RuleTests(SynchronousTestCase):
    here = RedirectTarget(True, 'crm.example', 443, '/a/b?x=1')

    def hop(
        self, location: bytes, status: int = 302, method: str = 'GET', *, has_body: bool = False
    ) -> RedirectedRequest:
        return follow_redirect(status, method, self.here, location, has_body=has_body)

    def test_methods(self) -> None:
        """RFC 9110 §15.4 and the Fetch standard: 303 becomes GET, 301 and 302 do for POST, 307 and 308 change
        nothing."""
        for status, method, then, body in (
            (301, 'GET', 'GET', True), (301, 'POST', 'GET', False), (302, 'POST', 'GET', False),
            (301, 'PUT', 'PUT', True), (302, 'DELETE', 'DELETE', True), (302, 'HEAD', 'HEAD', True),
            (303, 'POST', 'GET', False), (303, 'PUT', 'GET', False), (303, 'HEAD', 'HEAD', True),
            (307, 'POST', 'POST', True), (308, 'POST', 'POST', True),
        ):  # fmt: skip
            hop = self.hop(b'/c', status, method)
            self.assertEqual((hop.method, hop.keeps_body), (then, body), (status, method))

    def test_where_to(self) -> None:
        """References of all kinds (RFC 3986 §5) are resolved, also malformed ones."""
        for location, url in (
            (b'/c', 'https://crm.example/c'), (b'c', 'https://crm.example/a/c'), (b'?y=2', 'https://crm.example/a/b?y=2'),
            (b'../../../c', 'https://crm.example/c'), (b'//erp.example/c', 'https://erp.example/c'),
            (b'HTTP://ERP.example:8080', 'http://erp.example:8080/'), (b'http://[::1]:80/', 'http://[::1]/'),
            (b'/\xc5\xbc b', 'https://crm.example/%C5%BC%20b'), (b'/%41%zz', 'https://crm.example/%41%zz'),
            (b'/c#part', 'https://crm.example/c'), (b'https://user:pw@erp.example/', 'https://erp.example/'),
            ('https://żółw.example/'.encode(), 'https://xn--w-uga1v8h.example/'),
            (b'/\r\nX-Injected: 1', 'https://crm.example/%0D%0AX-Injected:%201'),
        ):  # fmt: skip
            self.assertEqual(self.hop(location).target.url, url)

    def test_where_not_to(self) -> None:
        """Only http and https URLs are followed."""
        for location in (
            b'', b'ftp://a/', b'javascript:alert(1)', b'file:///etc/passwd', b'http://', b'http:///x', b'http://a:99999/',
            b'http://a b/', b'http://[::1/', b'/' + b'x' * 8192,
        ):  # fmt: skip
            self.assertRaises(RedirectError, self.hop, location)

    def test_a_body_in_the_clear(self) -> None:
        """A body meant for https is not sent over http; without a body the redirect is followed."""
        self.assertRaises(RedirectError, self.hop, b'http://crm.example/', 307, 'POST', has_body=True)
        self.assertEqual(self.hop(b'http://crm.example/', 303, 'POST', has_body=True).method, 'GET')
        self.assertEqual(self.hop(b'http://crm.example/', 307).target.secure, False)

    def test_whose_credentials(self) -> None:
        """Credentials are kept within an origin: scheme, host and port (RFC 6454)."""
        for location, kept in (
            (b'/c', True), (b'https://crm.example:443/', True), (b'http://crm.example/', False),
            (b'https://crm.example:8443/', False), (b'https://www.crm.example/', False),
        ):  # fmt: skip
            self.assertEqual(self.hop(location).keeps_credentials, kept, location)

    def test_names_of_fields(self) -> None:
        """Credential and body fields are recognized in any case."""
        for name in (b'AUTHORIZATION', b'Cookie', b'X-Api-Key', b'apikey', b'X-Auth-Token', b'X-Session-Id'):
            self.assertTrue(is_credential_field(name), name)
        for name in (b'Accept', b'X-Zato-CID', b'traceparent', b'User-Agent', b'Idempotency-Key'):
            self.assertFalse(is_credential_field(name), name)
        self.assertEqual(
            [is_body_field(name) for name in (b'Content-Type', b'Digest', b'Accept')], [True, True, False]
        )

    def test_a_url_taken_apart(self) -> None:
        """A connection's host is parsed in all its forms."""
        self.assertEqual(parse_redirect_target('http://CRM.example'), RedirectTarget(False, 'crm.example', 80, '/'))


    def test_scopes(self) -> None:
        """Private addresses are recognized in any notation, including IPv4 in IPv6 (RFC 4291, 6052, 3056)."""
        for scope, addresses in (
            (
                AddressScope.LOOPBACK,
                ('127.0.0.1', '127.9.9.9', '::1', '0.0.0.0', '::', '::ffff:127.0.0.1', '64:ff9b::7f00:1'),
            ),
            (AddressScope.LINK_LOCAL, ('169.254.169.254', 'fe80::1%eth0', '::ffff:a9fe:a9fe', '2002:a9fe:a9fe::1')),
            (
                AddressScope.PRIVATE,
                (
                    '10.0.0.1',
                    '172.16.0.1',
                    '192.168.1.1',
                    '100.64.0.1',
                    'fc00::1',
                    'fec0::1',
                    '224.0.0.1',
                    'ff0e::1',
                    '255.255.255.255',
                    '::10.0.0.1',
                ),
            ),
            (AddressScope.PUBLIC, ('93.184.216.34', '2606:2800:220:1:248:1893:25c8:1946', '::ffff:93.184.216.34')),
        ):
            for address in addresses:
                self.assertIs(address_scope(address), scope, address)


class Known(AddressResolver):
    """A resolver for the names of a test."""

    def __init__(self, reactor: Any, **names: tuple[str, ...]) -> None:
        super().__init__(reactor)
        self.names = names

    def resolve(self, host: str) -> Deferred[tuple[str, ...]]:
        return succeed(self.names.get(host, (host,)))


class DialingTests(SynchronousTestCase):
    """Redirect targets, judged by the addresses connected to."""

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        names = {'metadata': ('169.254.169.254',), 'rebound': ('127.0.0.1',), 'mixed': ('10.0.0.5', '93.184.216.34'),
                 'localhost': ('127.0.0.1', '::1')}  # fmt: skip
        self.resolver = Known(self.reactor, **names)

    def dialed(self, host: str, *own: AddressScope, proxy: str = '') -> list[str]:
        """Return the addresses connected to for a redirect to a host."""
        dialer = Connector(self.reactor, self.resolver, TlsClientFactory(TlsSettings()), ProxySelector(http=proxy))
        dialer.own_scopes.update(own)
        self.reactor.tcpClients.clear()
        dialing = dialer.connect(Origin('http', host, 80, redirected=True), Factory(), 1e9)
        failed: list[Any] = []
        dialing.addErrback(failed.append)
        if failed:
            failed[0].trap(BadRedirect)
            self.assertIn(f'a redirection leads to {host}', str(failed[0].value))
            self.assertEqual(self.reactor.tcpClients, [])
        return [client[0] for client in self.reactor.tcpClients]

    def test_inside(self) -> None:
        """Redirects to loopback, link-local and private addresses are rejected, by address and by name."""
        for host in ('127.0.0.1', '169.254.169.254', '10.0.0.5', '::1', 'metadata', 'rebound', 'localhost'):
            self.assertEqual(self.dialed(host), [], host)
        self.assertEqual(self.dialed('93.184.216.34'), ['93.184.216.34'])

    def test_some_of_the_addresses_of_a_name(self) -> None:
        """Of a name's addresses only the permitted ones are tried."""
        self.assertEqual(self.dialed('mixed'), ['93.184.216.34'])

    def test_a_connection_that_points_inside(self) -> None:
        """A connection to a private address may redirect within that scope, and no further."""
        self.assertEqual(self.dialed('10.0.0.5', AddressScope.PRIVATE), ['10.0.0.5'])
        self.assertEqual(self.dialed('rebound', AddressScope.PRIVATE), [])
        self.assertEqual(self.dialed('metadata', AddressScope.PRIVATE, AddressScope.LOOPBACK), [])

    def test_by_a_proxy(self) -> None:
        """With a proxy names are the proxy's to check; private addresses and localhost are still rejected."""
        proxy = 'http://10.0.0.9:3128'
        self.assertEqual(self.dialed('crm.example', proxy=proxy), ['10.0.0.9'])
        for host in ('127.0.0.1', '10.0.0.5', '169.254.169.254'):
            self.assertEqual(self.dialed(host, proxy=proxy), [], host)


class FollowingTests(WithPeers):
    async def test_followed(self) -> None:
        """A redirect within the peer uses the same connection and sends all fields."""
        onward = sends_to('c?d=1', b'308 Permanent Redirect')
        answers = {b'/a': sends_to('/b'), b'/b': onward, b'/c?d=1': says(body=b'here')}
        upstream = self.listen(lambda peer, request: answers[request.target](peer, request))
        answer = await self.client().send(get(upstream.port, b'/a', headers=SECRETS + OPEN))
        self.assertEqual((answer.status, answer.body, upstream.accepted), (200, b'here', 1))
        for request in upstream.requests:
            self.assertEqual({name.lower() for name, _ in SECRETS + OPEN} - set(request.headers), set())

    async def test_off(self) -> None:
        """A connection may return redirects as responses."""
        upstream = self.listen(sends_to('/b'))
        answer = await self.client(max_redirects=0).send(get(upstream.port))
        self.assertEqual((answer.status, answer.headers[b'location'], len(upstream.requests)), (302, b'/b', 1))

    async def test_nothing_to_follow(self) -> None:
        """Other 3xx responses, and those without Location, are returned."""
        for status, lines in ((304, b'Location: /b\r\n'), (300, b'Location: /b\r\n'), (302, b'')):
            upstream = self.listen(raw(b'HTTP/1.1 %d Odd\r\nContent-Length: 0\r\n%b\r\n' % (status, lines)))
            answer = await self.client().send(get(upstream.port))
            self.assertEqual((answer.status, len(upstream.requests)), (status, 1))

    async def test_another_origin_hears_of_no_credentials(self) -> None:
        """Another origin gets no credentials, no secret fields, and no body fields without the body."""
        there = self.listen(says())
        here = self.listen(sends_to(f'http://localhost:{there.port}/b', b'303 See Other'))
        headers = [*SECRETS, *OPEN, (b'Content-Type', b'text/plain'), (b'Host', b'crm.example')]
        client = self.client(secret_fields=frozenset((b'x-partner',)), redirect_to_any_origin=True)
        await client.send(post(here.port, b'order', headers=headers))
        (request,) = there.requests
        self.assertEqual((request.method, request.body), (b'GET', b''))
        self.assertEqual(set(request.headers), {b'host', b'x-zato-cid', b'accept'})
        self.assertEqual(request.headers[b'host'], b'localhost:%d' % there.port)

    async def test_another_origin(self) -> None:
        """Another origin, which may differ in the port only, is not followed unless configured."""
        there = self.listen(says())
        here = self.listen(sends_to(f'http://127.0.0.1:{there.port}/b'))
        client = self.client()
        why = await self.failed(client.send(get(here.port)), BadRedirect)
        self.assertIn(f'the redirection (302) by 127.0.0.1 leads to http://127.0.0.1:{there.port}, where only', why)
        self.assertEqual((there.accepted, client.client.active), (0, 0))

    async def test_there_and_back(self) -> None:
        """A redirect back to the call's origin is one to its own."""
        here = self.listen(lambda peer, request: answers[request.target](peer, request))
        there = self.listen(sends_to(f'http://127.0.0.1:{here.port}/c'))
        answers = {b'/a': sends_to(f'http://127.0.0.1:{there.port}/b'), b'/c': says(body=b'home')}
        answer = await self.client(redirect_to_any_origin=True).send(get(here.port, b'/a'))
        self.assertEqual((answer.body, here.accepted), (b'home', 1))

    async def test_from_https_to_http(self) -> None:
        """A redirect from https to http is followed without credentials, but not with a body."""
        ca = Authority(Path(self.mktemp()).absolute())
        there = self.listen(says(body=b'in the clear'))
        for status in (b'302 Found', b'307 Temporary Redirect'):
            here = self.listen(sends_to(f'http://127.0.0.1:{there.port}/', status),
                               tls=server_tls(ca.sign('here', '127.0.0.1')))
            client = self.client(tls=TlsSettings(ca=ca.path.read_text()), redirect_to_any_origin=True)
            answer = await client.send(get(here.port, scheme='https', headers=SECRETS[:4] + OPEN))
            self.assertEqual(answer.body, b'in the clear')
            self.assertEqual(set(there.requests.pop().headers), {b'host', b'x-zato-cid', b'accept'})
        why = await self.failed(client.send(post(here.port, b'order', scheme='https')), BadRedirect)
        self.assertIn('the redirection (307) by 127.0.0.1 would send in the clear a body that was meant for TLS', why)
        self.assertEqual(there.requests, [])

    async def test_the_body_again(self) -> None:
        """307 and 308 send the same body again."""
        answers = {b'/': sends_to('/b', b'307 Temporary Redirect'), b'/b': says()}
        upstream = self.listen(lambda peer, request: answers[request.target](peer, request))
        await self.client().send(post(upstream.port, b'x' * 200_000, headers=[(b'Content-Type', b'a/b')]))
        self.assertEqual([(request.method, len(request.body), request.headers[b'content-type'])
                          for request in upstream.requests], [(b'POST', 200_000, b'a/b')] * 2)  # fmt: skip

    async def test_a_body_that_is_gone(self) -> None:
        """A body that was produced while sending cannot be repeated: an error is raised, and no state is left."""

        async def pieces() -> AsyncIterator[bytes]:
            yield b'order'

        upstream = self.listen(sends_to('/b', b'307 Temporary Redirect'))
        client = self.client()
        outbound: Any = post(upstream.port, b'')
        outbound = HttpRequest('POST', outbound.origin, body=IteratorBody(pieces(), 5))
        why = await self.failed(client.send(outbound), BadRedirect)
        self.assertEqual(why, 'the redirection (307) by 127.0.0.1 is of a body that can be sent only once')
        self.assertEqual((client.client.active, client.client.idle), (0, 1))

    async def test_in_circles(self) -> None:
        """A redirect loop is detected in the second round, whatever the limit."""
        answers = {b'/a': sends_to('/b'), b'/b': sends_to('/a')}
        upstream = self.listen(lambda peer, request: answers[request.target](peer, request))
        client = self.client()
        why = await self.failed(client.send(get(upstream.port, b'/a')), TooManyRedirects)
        self.assertEqual(why, 'redirected in a circle by 127.0.0.1')
        self.assertEqual(len(upstream.requests), 2)
        self.assertEqual((client.client.active, client.client.idle), (0, 1))

    async def test_on_and_on(self) -> None:
        """The number of redirects is limited by the connection's setting."""

        def onward(peer: Peer, request: Request) -> None:
            sends_to(f'/{int(request.target[1:] or b"0") + 1}')(peer, request)

        upstream = self.listen(onward)
        client = self.client(max_redirects=3)
        why = await self.failed(client.send(get(upstream.port)), TooManyRedirects)
        self.assertEqual(why, 'redirected more than 3 times, at last by 127.0.0.1')
        self.assertEqual((len(upstream.requests), client.client.active), (4, 0))

    async def test_to_nowhere(self) -> None:
        """An invalid Location fails the call, and the error names the sender."""
        upstream = self.listen(sends_to('ftp://127.0.0.1/'))
        why = await self.failed(self.client().send(get(upstream.port)), BadRedirect)
        self.assertEqual(why, 'the redirection (302) by 127.0.0.1 is to a URL that is not of http or https')

    async def test_the_time_of_all_of_them(self) -> None:
        """The total timeout covers all requests of a call."""
        answers = {b'/': sends_to('/b'), b'/b': silent}
        upstream = self.listen(lambda peer, request: answers[request.target](peer, request))
        began = reactor.seconds()
        await self.failed(self.client().send(get(upstream.port, timeouts=Timeouts(total_timeout=0.3))), TotalTimeout)
        self.assertLess(reactor.seconds() - began, 30)

    async def test_given_up(self) -> None:
        """Cancelling the call cancels the current request."""
        answers = {b'/': sends_to('/b'), b'/b': silent}
        upstream = self.listen(lambda peer, request: answers[request.target](peer, request))
        client = self.client()
        sending = client.send(get(upstream.port))
        sending.addErrback(lambda failure: None)
        await self.until(lambda: len(upstream.requests) == 2)
        sending.cancel()
        self.assertEqual((client.client.active, client.client.idle), (0, 0))
        await self.until(lambda: not upstream.peers)

    async def test_streamed(self) -> None:
        """With streaming the last response is a stream; bodies of redirects are not read to their end."""
        answers = {b'/': raw(b'HTTP/1.1 302 Found\r\nLocation: /b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nmoved'),
                   b'/b': says(body=b'here')}  # fmt: skip
        upstream = self.listen(lambda peer, request: answers[request.target](peer, request))
        answer = await self.client().send(get(upstream.port, is_streamed=True))
        stream = answer.body
        assert not isinstance(stream, bytes)
        self.assertEqual(await self.read(stream), b'here')
        self.assertEqual(upstream.accepted, 2)

    async def read(self, stream: BodyStream) -> bytes:
        return b''.join([piece async for piece in stream])
