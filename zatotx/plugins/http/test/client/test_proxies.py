"""Outgoing HTTP through proxies: a real one, and misbehaving ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.authority import Authority
from trial_tests.support.tinyproxy import PASSWORD, USER, Tinyproxy
from zatotx.connectors.tls_settings import TlsSettings
from zatotx.plugins.http.client.errors import CallFailed, ConnectRefused, ConnectTimeout, ProxyFailed
from zatotx.plugins.http.client.http_messages import HttpResponse
from zatotx.plugins.http.test.upstream_servers import (
    Answering,
    Peer,
    Request,
    Timeouts,
    Upstream,
    WithPeers,
    ends,
    get,
    raw,
    reactor,
    says,
    server_tls,
    silent,
)
from zatotx.rules.http.proxy_selection import (
    DIRECT,
    ENVIRONMENT,
    Proxy,
    ProxySelector,
    UnusableProxy,
    make_proxy_selector,
    parse_no_proxy,
    parse_proxy,
    proxies_from_environment,
)


class NoProxyTests(SynchronousTestCase):
    def covered(self, text: str, host: str, port: int = 80) -> bool:
        return parse_no_proxy(text).matches(host, port)

    def test_domains(self) -> None:
        """A domain in no_proxy covers its subdomains, with or without a dot, and no other name with that ending."""
        for entry in ('example.com', '.example.com', '*.example.com', 'EXAMPLE.com', ' example.com ', 'a,example.com.'):
            self.assertTrue(self.covered(entry, 'example.com'), entry)
            self.assertTrue(self.covered(entry, 'crm.example.com'), entry)
            self.assertFalse(self.covered(entry, 'notexample.com'), entry)
            self.assertFalse(self.covered(entry, 'com'), entry)
        self.assertTrue(self.covered('example.com', 'crm.example.com.'))

    def test_addresses(self) -> None:
        """Addresses and networks of both families match; names are not looked up for it."""
        for text, host, is_it in (
            ('10.0.0.1', '10.0.0.1', True), ('10.0.0.1', '10.0.0.10', False), ('10.0.0.0/8', '10.9.9.9', True),
            ('10.0.0.5/8', '10.9.9.9', True), ('10.0.0.0/8', '11.0.0.1', False), ('10.0.0.0/8', 'crm.example', False),
            ('2001:db8::/32', '2001:db8::5', True), ('[2001:db8::1]', '2001:db8::1', True), ('::/0', '10.0.0.1', False),
        ):  # fmt: skip
            self.assertEqual(self.covered(text, host), is_it, (text, host))

    def test_ports(self) -> None:
        """An entry with a port covers that port only."""
        for entry, host in (('crm.example:8080', 'crm.example'), ('[2001:db8::1]:8080', '2001:db8::1'),
                            ('10.0.0.0/8:8080', '10.1.1.1'), ('10.1.1.1:8080', '10.1.1.1')):
            self.assertTrue(self.covered(entry, host, 8080), entry)
            self.assertFalse(self.covered(entry, host, 80), entry)

    def test_everything_and_nothing(self) -> None:
        """A star matches everything; an empty variable, or an invalid host, matches nothing."""
        self.assertTrue(self.covered('a, *', 'crm.example'))
        for text in ('', ' , ', 'a b/c', '10.0.0.0/99', '::::', 'http://crm.example'):
            self.assertFalse(self.covered(text, 'crm.example'), text)

    def test_the_loopback(self) -> None:
        """Loopback requests never use a proxy from the environment, where loopback would mean the proxy's own."""
        for host in ('localhost', 'crm.localhost', '127.0.0.1', '127.9.9.9', '::1'):
            self.assertTrue(self.covered('', host), host)


class ChoiceTests(SynchronousTestCase):
    def chosen(self, of: ProxySelector, scheme: str = 'http', host: str = 'crm.example') -> Proxy | None:
        return of.select(secure=scheme == 'https', host=host, port=80)

    def test_the_environment(self) -> None:
        """There are variables per scheme and for both; lower case takes precedence."""
        found = proxies_from_environment({'http_proxy': 'http://a:1', 'HTTP_PROXY': 'http://b:1', 'ALL_PROXY': 'c:3',
                             'No_Proxy': 'crm.example', 'NO_PROXY': 'erp.example'})  # fmt: skip
        self.assertEqual(self.chosen(found), Proxy('a', 1))
        self.assertEqual(self.chosen(found, 'https'), Proxy('c', 3))
        self.assertIsNone(self.chosen(found, host='erp.example'))
        self.assertIsNone(self.chosen(proxies_from_environment({}), 'https'))

    def test_a_setting(self) -> None:
        """A URL in the setting applies to all calls, including loopback, whatever NO_PROXY says; or no proxy is used at
        all."""
        environ = {'http_proxy': 'http://a:1', 'no_proxy': '*'}
        self.assertEqual(self.chosen(make_proxy_selector('http://b:2', environ), host='127.0.0.1'), Proxy('b', 2))
        self.assertEqual(self.chosen(make_proxy_selector('http://b:2', environ), 'https'), Proxy('b', 2))
        self.assertIsNone(self.chosen(make_proxy_selector(DIRECT, {'http_proxy': 'http://a:1'})))
        self.assertEqual(self.chosen(make_proxy_selector(ENVIRONMENT, {'http_proxy': 'http://a:1'})), Proxy('a', 1))

    def test_urls(self) -> None:
        """Proxy URLs may contain credentials, percent-encoded or not, and may omit the scheme."""
        for url, proxy in (
            ('http://Proxy.example:3128', Proxy('proxy.example', 3128)), ('proxy:3128', Proxy('proxy', 3128)),
            ('http://proxy', Proxy('proxy', 80)), ('http://[::1]:8080/', Proxy('::1', 8080)),
            ('http://user:p%40ss%3A@proxy:1', Proxy('proxy', 1, b'Basic dXNlcjpwQHNzOg==')),
            ('http://user@proxy:1', Proxy('proxy', 1, b'Basic dXNlcjo=')),
        ):  # fmt: skip
            self.assertEqual(parse_proxy(url), proxy)

    def test_unusable(self) -> None:
        """Other kinds and invalid URLs are rejected without revealing a possible password."""
        for url in ('socks5://user:hunter2@proxy', 'https://user:hunter2@proxy', 'http://user:hunter2@', 'http://a:x',
                    'http://a b', 'http://user:hunter2@[::1'):  # fmt: skip
            error = self.assertRaises(UnusableProxy, parse_proxy, url)
            self.assertNotIn('hunter2', str(error))
        self.assertRaises(UnusableProxy, make_proxy_selector, 'socks5://a', {})
        found = proxies_from_environment({'all_proxy': 'socks5://a:1'})
        self.assertRaises(UnusableProxy, self.chosen, found)

    def test_secrets_are_not_shown(self) -> None:
        """The repr contains no secrets."""
        self.assertNotIn('hunter2', repr(make_proxy_selector('http://user:hunter2@proxy', {})))
        self.assertNotIn('Basic', repr(parse_proxy('http://user:hunter2@proxy')))


class ProxyCase(WithPeers):
    def setUp(self) -> None:
        self.ca = Authority(Path(self.mktemp()).absolute())
        self.tls = TlsSettings(ca=self.ca.path.read_text())
        self.server_tls = server_tls(self.ca.sign('server', 'localhost'))

    async def called(self, proxy: str, upstream: Upstream, scheme: str) -> HttpResponse:
        client = self.client(proxy=proxy, tls=self.tls)
        outbound = get(upstream.port, b'/a?b=1', scheme=scheme, host='localhost', headers=[(b'X-Own', b'1')])
        return await client.send(outbound)


class TinyproxyTests(ProxyCase):
    """Tests with tinyproxy."""

    async def start(self, *, credentials: bool = False) -> Tinyproxy:
        proxy = Tinyproxy(credentials=credentials)
        self.addCleanup(proxy.close)
        await deferToThread(proxy.start)
        return proxy

    async def test_through_it(self) -> None:
        """Plain HTTP uses the absolute URL, https a tunnel; the peer sees the same request as without a proxy."""
        proxy = await self.start()
        for scheme, tls in (('http', None), ('https', self.server_tls)):
            upstream = self.listen(says(body=b'hello'), tls=tls)
            answer = await self.called(f'http://127.0.0.1:{proxy.port}', upstream, scheme)
            self.assertEqual((answer.status, answer.body), (200, b'hello'))
            (request,) = upstream.requests
            self.assertEqual((request.target, request.headers[b'x-own']), (b'/a?b=1', b'1'))
            self.assertEqual(request.headers[b'host'].split(b':')[0], b'localhost')
            self.assertNotIn(b'proxy-authorization', request.headers)
        await self.until(lambda: 'CONNECT localhost' in proxy.said() and 'GET http://localhost' in proxy.said())

    async def test_by_the_environment(self) -> None:
        """The environment's proxy is used, except for loopback."""
        proxy = await self.start()
        environ = {'HTTP_PROXY': f'http://127.0.0.1:{proxy.port}'}
        upstream = self.listen(says())
        await self.client(environ=environ).send(get(upstream.port))
        self.assertNotIn('GET http', proxy.said())
        sending = self.client(environ=environ).send(get(upstream.port, host='zatotx.invalid'))
        self.assertGreaterEqual((await sending).status, 500)
        await self.until(lambda: 'GET http://zatotx.invalid' in proxy.said())

    async def test_credentials(self) -> None:
        """Credentials of the URL are used; the error for missing or wrong ones names the problem and reveals nothing.
        For plain HTTP wrong ones cause a 401, which may be the peer's own."""
        proxy = await self.start(credentials=True)
        place = f'127.0.0.1:{proxy.port}'
        for scheme, tls in (('http', None), ('https', self.server_tls)):
            upstream = self.listen(says(), tls=tls)
            answer = await self.called(f'http://{USER}:{PASSWORD}@{place}', upstream, scheme)
            self.assertEqual(answer.status, 200)
            with self.assertRaises(ProxyFailed) as caught:
                await self.called(f'http://{place}', upstream, scheme)
            self.assertIn(f'the proxy {place} wants other credentials', str(caught.exception))
            self.assertEqual(len(upstream.requests), 1)
        with self.assertRaises(ProxyFailed) as caught:
            await self.called(f'http://{USER}:hunter2@{place}', upstream, 'https')
        self.assertEqual(str(caught.exception), f'the proxy {place} wants other credentials than it was given (401)')
        self.assertEqual((await self.called(f'http://{USER}:hunter2@{place}', upstream, 'http')).status, 401)

    async def test_nobody_behind_it(self) -> None:
        """A failed tunnel is reported with the proxy's reason."""
        proxy = await self.start()
        client = self.client(proxy=f'http://127.0.0.1:{proxy.port}')
        why = await self.failed(client.send(get(1, scheme='https')), ProxyFailed)
        self.assertIn(f'the proxy 127.0.0.1:{proxy.port} ', why)
        self.assertEqual((client.client.active, client.client.idle), (0, 0))


class FaultTests(ProxyCase):
    """Misbehaving proxies, with https calls through a tunnel."""

    async def fault(self, answer: Answering, error: type[CallFailed], *, greets: Callable[[Peer], object] | None = None,
                    within: float = 5.0) -> str:
        proxy = self.listen(answer, greets=greets)
        client = self.client(proxy=f'http://user:hunter2@127.0.0.1:{proxy.port}', tls=self.tls)
        outbound = get(443, scheme='https', host='crm.example', timeouts=Timeouts(connect_timeout=within))
        began = reactor.seconds()
        why = await self.failed(client.send(outbound), error)
        self.assertLess(reactor.seconds() - began, within * 10)
        self.assertNotIn('hunter2', why)
        self.assertEqual((client.client.active, client.client.idle, client.client.waiting), (0, 0, 0))
        await self.until(lambda: not proxy.peers)
        return why.replace(f'127.0.0.1:{proxy.port}', 'P')

    async def test_refusals(self) -> None:
        """Error statuses are explained."""
        for status, words in (
            (b'407 Proxy Authentication Required', 'the proxy P wants other credentials than it was given (407)'),
            (b'502 Bad Gateway', 'the proxy P did not reach crm.example:443 (502)'),
            (b'503 Service Unavailable', 'the proxy P did not reach crm.example:443 (503)'),
            (b'403 Forbidden', 'the proxy P makes no tunnel to crm.example:443 (403)'),
            (b'302 Found', 'the proxy P makes no tunnel to crm.example:443 (302)'),
        ):
            self.assertEqual(await self.fault(says(status, b'why', b'Location: http://elsewhere/'), ProxyFailed), words)

    async def test_nonsense(self) -> None:
        """Responses that are not HTTP/1, or have no head, are rejected."""
        for data in (b'SSH-2.0-OpenSSH\r\n', b'HTTP/2 200\r\n\r\n', b'HTTP/1.1 OK\r\n\r\n',
                     b'HTTP/1.1 200 OK\nA: b\n\n', b'\x16\x03\x01\x00\x05hello',
                     b'HTTP/1.1 200 OK\r\n folded\r\n\r\n'):  # fmt: skip
            self.assertIn('answered a CONNECT with what is not HTTP/1', await self.fault(raw(data), ProxyFailed))

    async def test_an_endless_head(self) -> None:
        """Heads are limited to 64 KiB, and so are interim responses."""
        for data in (b'HTTP/1.1 200 OK\r\n' + b'X-A: b\r\n' * 20_000, b'HTTP/1.1 200 ' + b'x' * 100_000,
                     b'HTTP/1.1 100 Continue\r\n\r\n' * 20):  # fmt: skip
            self.assertIn('is not HTTP/1', await self.fault(raw(data), ProxyFailed))

    async def test_closed_and_reset(self) -> None:
        """The proxy closes or resets the connection, at once or within its response."""
        for answer, greets in ((ends(b''), None), (ends(b'HTTP/1.1 200'), None), (silent, Peer.close),
                               (ends(b'HTTP/1.1 200', reset=True), None)):  # fmt: skip
            why = await self.fault(answer, ProxyFailed, greets=greets)
            self.assertEqual(why, 'the proxy P closed the connection instead of answering a CONNECT')

    async def test_silent(self) -> None:
        """A silent proxy runs into the connect timeout."""
        for answer in (silent, raw(b'HTTP/1.1 200 OK\r\nX-A')):
            for within in (0.3, 3.0, 12.0):  # a busy machine may not come to the proxy at first
                why = await self.fault(answer, ConnectTimeout, within=within)
                if 'proxy' in why:
                    break
            self.assertEqual(why, f'the proxy P made no tunnel to crm.example:443 within {within:g} s')

    async def test_talking_first(self) -> None:
        """Bytes that arrive through a tunnel before ours are not the peer's."""
        why = await self.fault(raw(b'HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n'), ProxyFailed)
        self.assertIn('sends something through the tunnel before anybody was asked', why)

    async def test_not_there(self) -> None:
        """An unreachable proxy is named in the error."""
        client = self.client(proxy='http://127.0.0.1:1')
        for scheme in ('http', 'https'):
            why = await self.failed(client.send(get(443, scheme=scheme, host='crm.example')), ConnectRefused)
            self.assertEqual(why, 'nobody listens at the proxy 127.0.0.1:1')

    async def test_of_a_kind_that_is_not_spoken(self) -> None:
        """An unsupported proxy in the environment makes calls fail with the reason, instead of being bypassed."""
        client = self.client(environ={'ALL_PROXY': 'socks5://user:hunter2@127.0.0.1:1080'})
        for scheme in ('http', 'https'):
            why = await self.failed(client.send(get(443, scheme=scheme, host='crm.example')), ProxyFailed)
            self.assertIn('the proxy for crm.example cannot be used: it is of the kind socks5', why)
            self.assertNotIn('hunter2', why)

    async def test_what_it_is_sent(self) -> None:
        """The proxy receives CONNECT with host, port and credentials, and nothing of the request."""
        seen: list[Request] = []

        def note(peer: Peer, request: Request) -> None:
            seen.append(request)
            peer.close()

        await self.fault(note, ProxyFailed)
        (request,) = seen
        self.assertEqual(request.line, b'CONNECT crm.example:443 HTTP/1.1')
        self.assertEqual(request.headers, {b'host': b'crm.example:443',
                                           b'proxy-authorization': b'Basic dXNlcjpodW50ZXIy'})  # fmt: skip

    async def test_plain_http(self) -> None:
        """A 407 is an error, any other response may be the peer's; connections are pooled per origin."""
        answers = [says(b'407 Who'), says(b'502 Bad Gateway'), says(body=b'hello')]
        proxy = self.listen(lambda peer, request: answers[len(proxy.requests) - 1](peer, request))
        client = self.client(proxy=f'http://user:pw@127.0.0.1:{proxy.port}')
        await self.failed(client.send(get(80, host='crm.example')), ProxyFailed)
        self.assertEqual((await client.send(get(8080, b'/a', host='crm.example'))).status, 502)
        self.assertEqual((await client.send(get(8080, b'/a', host='crm.example'))).body, b'hello')
        self.assertEqual([request.line for request in proxy.requests], [
            b'GET http://crm.example/ HTTP/1.1', *[b'GET http://crm.example:8080/a HTTP/1.1'] * 2,
        ])  # fmt: skip
        self.assertEqual([request.headers[b'host'] for request in proxy.requests],
                         [b'crm.example', *[b'crm.example:8080'] * 2])  # fmt: skip
        known = {request.headers[b'proxy-authorization'] for request in proxy.requests}
        self.assertEqual(known, {b'Basic dXNlcjpwdw=='})
        self.assertEqual(proxy.accepted, 2)
