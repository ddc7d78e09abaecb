"""The tests that twisted.web and treq bring along for agents, run against ours: their classes as they are installed,
with our agent put where theirs is made. What of them is not about an agent's behaviour is listed, with the reason.
"""

from __future__ import annotations

import unittest
from inspect import getmembers, isclass
from pathlib import Path
from types import ModuleType
from typing import Any

from treq.test import (
    test_agentspy,
    test_api,
    test_auth,
    test_client,
    test_content,
    test_cookies,
    test_multipart,
    test_response,
    test_testing,
    test_treq_integration,
)
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.internet.task import deferLater
from twisted.internet.tcp import Server
from twisted.internet.threads import deferToThread
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.reflect import prefixedMethodNames
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.server import Site
from twisted.web.test import test_agent
from zope.interface import directlyProvides

from trial_tests.support.agents import Answering, make_agent, make_open_agent
from trial_tests.support.authority import Authority
from trial_tests.support.httpbin import HTTPBin
from zatotx.connectors.tls_settings import TlsSettings
from zatotx.plugins.http.client.agent_adapter import Agent
from zatotx.plugins.http.client.http_client import ClientEnvironment, ClientSettings, make_client
from zatotx.plugins.http.test.upstream_servers import server_tls

reactor: Any = global_reactor
NAMES = {
    'example.com': [test_agent.EXAMPLE_COM_IP], 'ipv6.example.com': [test_agent.EXAMPLE_COM_V6_IP],
    'example.net': [test_agent.EXAMPLE_NET_IP], 'example.org': [test_agent.EXAMPLE_ORG_IP],
    'foo': [test_agent.FOO_LOCAL_IP], 'foo.com': [test_agent.FOO_COM_IP],
}  # fmt: skip

INSIDE = 'looks into Twisted\'s own Agent: its endpoints, its pool, or attributes of them'
HANDED_ON = 'looks whether the very Response object that it made comes out: here there are bytes between'
NOT_SENT = 'looks at a part of the URL that no request names'
ITS_ARGUMENTS = 'of an argument that Twisted\'s Agent takes and ours does not'

# Tests of AgentTests that look at the requests of the agent that they were given.
OF_REQUESTS = ('test_hostProvided', 'test_hostIPv6Bracketed', 'test_hostOverride', 'test_headersUnmodified')

# Tests of the classes below that do not apply to ours, by class and name.
NOT_APPLICABLE = {
    'AgentTests': {
        'test_defaultPool': INSIDE, 'test_persistent': INSIDE, 'test_nonPersistent': INSIDE,
        'test_connectUsesConnectionPool': INSIDE, 'test_connectHTTP': INSIDE, 'test_nonDecodableURI': INSIDE,
        'test_hostValueStandardHTTP': INSIDE, 'test_hostValueNonStandardHTTP': INSIDE,
        'test_hostValueStandardHTTPS': INSIDE, 'test_hostValueNonStandardHTTPS': INSIDE,
        'test_requestMissingAbsoluteURI': INSIDE, 'test_endpointFactory': INSIDE,
        'test_endpointFactoryDefaultPool': INSIDE, 'test_endpointFactoryPool': INSIDE,
        'test_connectTimeout': ITS_ARGUMENTS, 'test_connectTimeoutHTTPS': ITS_ARGUMENTS,
        'test_bindAddress': ITS_ARGUMENTS, 'test_bindAddressSSL': ITS_ARGUMENTS, 'test_requestAbsoluteURI': NOT_SENT,
        'test_request': 'gives a body that is no producer, and looks for it in Twisted\'s Request',
    },
    'AgentHTTPSTests': {
        'test_endpointType': INSIDE, 'test_hostArgumentIsRespected': INSIDE, 'test_portArgumentIsRespected': INSIDE,
        'test_connectHTTPSCustomConnectionCreator': INSIDE, 'test_deprecatedDuckPolicy': ITS_ARGUMENTS,
        'test_alternateTrustRoot': INSIDE,
    },
    'ContentDecoderAgentTests': {
        'test_plainEncodingResponse': HANDED_ON, 'test_unsupportedEncoding': HANDED_ON,
        'test_unknownEncoding': HANDED_ON,
    },
    'RedirectAgentTests': {
        'test_noRedirect': HANDED_ON, 'test_responseHistory': HANDED_ON, 'test_relativeURIPreserveFragments': NOT_SENT,
    },
    'BrowserLikeRedirectAgentTests': {
        'test_noRedirect': HANDED_ON, 'test_responseHistory': HANDED_ON, 'test_relativeURIPreserveFragments': NOT_SENT,
    },
}  # fmt: skip

# Classes of the modules that do not apply as a whole.
OTHER_CLASSES = {
    test_agent: {
        'FileBodyProducerTests': 'of a producer, without an agent',
        'HTTPConnectionPoolTests': 'of Twisted\'s pool: ours is tested as a pool of its own',
        'HTTPConnectionPoolRetryTests': 'of Twisted\'s pool',
        'WebClientContextFactoryTests': 'of Twisted\'s TLS options',
        'HostnameCachingHTTPSPolicyTests': 'of Twisted\'s TLS options',
        'CookieJarTests': 'of a jar, without an agent',
        'ContentDecoderAgentWithGzipTests': 'feeds the body into the Response object that it made',
        'ProxyAgentTests': 'of Twisted\'s ProxyAgent: proxies are a setting of ours, and tested with it',
        'ReadBodyTests': 'of responses that are doubles',
        'RequestMethodInjectionTests': 'of Twisted\'s Request', 'RequestURIInjectionTests': 'of Twisted\'s Request',
        'RequestWriteToMethodInjectionTests': 'of Twisted\'s Request',
        'RequestWriteToURIInjectionTests': 'of Twisted\'s Request',
    },
    test_agentspy: {'APISpyTests': 'of an agent that is a double'},
    test_api: {
        'TreqAPITests': 'of how treq makes an Agent of Twisted\'s', 'DefaultPoolTests': 'of Twisted\'s pool in treq',
        'DefaultReactorTests': 'of how treq finds a reactor',
    },
    test_auth: {'RequestHeaderSetterAgentTests': 'of an agent that is a double',
                'AddAuthTests': 'of an agent that is a double'},
    test_client: {
        'HTTPClientTests': 'of what treq asks of an agent that is a mock',
        'BodyBufferingProtocolTests': 'of responses that are doubles',
        'BufferedResponseTests': 'of responses that are doubles',
    },
    test_content: {
        'ContentTests': 'of responses that are doubles', 'EncodingFromHeadersTests': 'of a parser',
        'MoreRealisticContentTests': 'of an agent that plays a server in memory',
    },
    test_cookies: {
        'ScopedCookieTests': 'of a jar', 'SearchTests': 'of a jar', 'IndexableCookieJarTests': 'of a jar',
        'HTTPClientCookieTests': 'of an agent that is a double',
    },
    test_multipart: {'MultiPartProducerTestCase': 'of a producer, without an agent',
                     'LengthConsumerTestCase': 'of a producer, without an agent'},
    test_response: {'ResponseTests': 'of responses that are doubles'},
    test_treq_integration: {},
    test_testing: {
        'StubbingTests': 'of an agent that plays a server in memory',
        'HasHeadersTests': 'of a matcher', 'RequestSequenceTests': 'of an agent that plays a server in memory',
        'StringStubbingTests': 'of an agent that plays a server in memory',
    },
}  # fmt: skip


class Ours:
    """Puts our agent where a test of twisted.web makes Twisted's, and peers in memory where it has doubles of them."""

    protocol: Any = None

    def buildAgentForWrapperTest(self, reactor: Any) -> Agent:
        return make_open_agent(Answering(reactor, self), NAMES)


class AgentTests(Ours, test_agent.AgentTests):
    """Of an agent as it is."""

    def makeAgent(self) -> Agent:
        return make_agent(self.reactor, NAMES)

    def setUp(self) -> None:
        super().setUp()
        if self._testMethodName in OF_REQUESTS:
            self.agent = self.buildAgentForWrapperTest(self.reactor)

    def integrationTest(self, *args: Any, **kwargs: Any) -> None:
        kwargs['createAgent'] = lambda reactor: make_agent(reactor, NAMES)
        super().integrationTest(*args, **kwargs)


class AgentHTTPSTests(Ours, test_agent.AgentHTTPSTests):
    """Over TLS, with a certificate of an authority that our agent trusts."""

    def integrationTest(self, *args: Any, **kwargs: Any) -> None:
        ca = Authority(Path(self.mktemp()).absolute())
        tls = TlsSettings(ca=ca.path.read_text())
        server = server_tls(ca.sign('server', args[0].strip(b'[]').decode()))
        kwargs |= {
            'serverWrapper': lambda factory, clock: TLSMemoryBIOFactory(server, False, with_alpn(factory), clock),
            'createAgent': lambda reactor: make_agent(reactor, NAMES, tls=tls),
            'scheme': b'https',
        }
        test_agent.IntegrationTestingMixin.integrationTest(self, *args, **kwargs)


class AgentMethodInjectionTests(Ours, test_agent.AgentMethodInjectionTests):
    """Methods that would be more than one."""

    def attemptRequestWithMaliciousMethod(self, method: bytes) -> None:
        refused('method', make_agent(self.createReactor(), NAMES), method, b'http://twisted.invalid')


class AgentURIInjectionTests(Ours, test_agent.AgentURIInjectionTests):
    """URIs that would be more than one."""

    def attemptRequestWithMaliciousURI(self, uri: bytes) -> None:
        refused('URI', make_agent(self.createReactor(), NAMES), b'GET', uri)


class CookieAgentTests(Ours, test_agent.CookieAgentTests):
    """Twisted's CookieAgent over ours."""


class ContentDecoderAgentTests(Ours, test_agent.ContentDecoderAgentTests):
    """Twisted's ContentDecoderAgent over ours."""


class RedirectAgentTests(Ours, test_agent.RedirectAgentTests):
    """Twisted's RedirectAgent over ours."""


class BrowserLikeRedirectAgentTests(Ours, test_agent.BrowserLikeRedirectAgentTests):
    """Twisted's BrowserLikeRedirectAgent over ours."""


class TreqIntegrationTests(test_treq_integration.TreqIntegrationTests):
    """treq over our agent, to a server on a socket."""

    secure = False

    def setUp(self) -> Any:
        site: Any = Site(HTTPBin(reactor), timeout=None)
        tls = TlsSettings()
        if self.secure:
            ca = Authority(Path(self.mktemp()).absolute())
            site = TLSMemoryBIOFactory(server_tls(ca.sign('server', '127.0.0.1')), False, site)
            tls = TlsSettings(ca=ca.path.read_text())
        port = reactor.listenTCP(0, site, interface='127.0.0.1')
        self.addCleanup(port.stopListening)
        self.baseurl = f'{"https" if self.secure else "http"}://127.0.0.1:{port.getHost().port}'
        self.pool = HTTPConnectionPool(reactor, False)
        self.reach = ClientEnvironment(reactor, deferToThread, environ={})
        self.client = make_client(ClientSettings(tls=tls, max_redirects=0, decode_content=False), self.reach)
        self.agent: Any = Agent(self.client)

    def tearDown(self) -> Any:
        return Deferred.fromCoroutine(self.close())

    async def close(self) -> None:
        await self.client.close()
        self.assertEqual((self.client.client.active, self.client.client.idle), (0, 0))
        while self.reach.call_environment.timeout_sweeper.running or any(
            isinstance(one, Server) for one in reactor.getReaders()
        ):
            await deferLater(reactor, 0.01)


class HTTPSTreqIntegrationTests(TreqIntegrationTests):
    """The same over TLS."""

    secure = True


class ListTests(SynchronousTestCase):
    """What is listed above as not applicable."""

    def test_classes(self) -> None:
        """Every class of tests of those modules is run here, or is listed with a reason."""
        for module, listed in OTHER_CLASSES.items():
            there = {name for name, one in getmembers(module, isclass) if is_test_of(one, module)}
            here = {name for name in there if name in RUN}
            self.assertEqual(there, here | set(listed), module.__name__)
            self.assertEqual(here & set(listed), set(), module.__name__)

    def test_methods(self) -> None:
        """Every test that is left out is there to be left out, and has a reason."""
        for name, listed in NOT_APPLICABLE.items():
            self.assertEqual([test for test in listed if not hasattr(RUN[name], test)], [], name)
            self.assertTrue(all(listed.values()), name)

    def test_enough_is_run(self) -> None:
        """The lists leave something: so many tests of twisted.web's and of treq's run here."""
        applicable = {name: len(names_of(one)) for name, one in RUN.items()}
        self.assertGreater(min(applicable.values()), 0)
        self.assertGreater(sum(applicable.values()), 100)


RUN: dict[str, Any] = {one.__name__: one for one in (
    AgentTests, AgentHTTPSTests, AgentMethodInjectionTests, AgentURIInjectionTests, CookieAgentTests,
    ContentDecoderAgentTests, RedirectAgentTests, BrowserLikeRedirectAgentTests, TreqIntegrationTests,
    HTTPSTreqIntegrationTests,
)}  # fmt: skip


def is_test_of(one: type, module: ModuleType) -> bool:
    """Whether it is a class of tests that a module defines."""
    return one.__module__ == module.__name__ and issubclass(one, unittest.TestCase)


def names_of(one: type) -> list[str]:
    """The tests of a class that apply."""
    left_out = NOT_APPLICABLE.get(one.__name__, {})
    return sorted({f'test{name}' for name in prefixedMethodNames(one, 'test')} - set(left_out))


def test_suite() -> unittest.TestSuite:
    """What trial runs: all that applies."""
    return unittest.TestSuite(one(name) for one in (*RUN.values(), ListTests) for name in names_of(one))


def with_alpn(factory: Any) -> Any:
    """A server's factory that agrees to HTTP/1.1: Twisted turns clients that ask for it away where it does not say."""
    factory.acceptableProtocols = lambda: [b'http/1.1']
    directlyProvides(factory, IProtocolNegotiationFactory)
    return factory


def refused(what: str, agent: Agent, method: bytes, uri: bytes) -> None:
    """A request that must be refused at once, with a ValueError. What is said then is ours, and checked here; the test
    looks for Twisted's words."""
    try:
        agent.request(method, uri, Headers(), None)
    except ValueError as error:
        assert str(error), 'no word about why'
        raise ValueError(f'Invalid {what}') from error
