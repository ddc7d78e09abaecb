"""Outgoing calls whose peer is not there, or does not do what it should: a fault that names the connection, in time,
with nothing of its address; and a pool that is as good as before.
"""

from __future__ import annotations

import gzip
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.authority import Authority
from trial_tests.support.calling import CID, Asking, WithConnections, started
from trial_tests.support.ports import free_port
from zatotx import BadGateway, ServiceUnavailable, Timeout
from zatotx.connectors.failure_log import FailureLog
from zatotx.plugins.http.client.errors import CallFailed
from zatotx.plugins.http.rest import error_mapping
from zatotx.plugins.http.test.upstream_servers import Peer, Request, ends, raw, reactor, says, server_tls, silent

TITLE = 'Outgoing connection CRM (rest)'
FINE = says(b'200 OK', b'fine')


class FaultTests(WithConnections):
    def slow_start(self, first: Callable[[Peer, Request], object]) -> Any:
        """A peer that does `first` with its first request, and answers all others."""
        seen: list[Request] = []

        def answer(peer: Peer, request: Request) -> None:
            seen.append(request)
            (first if len(seen) == 1 else FINE)(peer, request)

        return self.listen(answer)

    async def fails(self, rest: Any, kind: type[Exception], sentence: str, **options: Any) -> Any:
        """The fault of a call, which says that and names its request."""
        fault = await self.fault(rest.get(**options), kind)
        self.assertEqual((fault.msg, fault.cid), (f'{TITLE} {sentence}', CID))
        self.assertIsNotNone(fault.__cause__)
        return fault

    async def test_nobody_there(self) -> None:
        """ServiceUnavailable, at once."""
        fault = await self.fails(self.crm(free_port()), ServiceUnavailable, 'cannot be used: nobody is at its address')
        self.assertEqual(fault.status, 503)
        self.assertEqual(self.slots().errors_by_name, {'ServiceUnavailable': 1})

    async def test_no_such_name(self) -> None:
        """A host that has no address."""
        rest = self.crm(80, host='http://no-such-host.invalid')
        await self.fails(rest, ServiceUnavailable, 'cannot be used: the name of its host has no address')

    async def test_no_answer(self) -> None:
        """Timeout after the connection's own time, which is what the fault says; its connection is not used again."""
        peer = self.slow_start(silent)
        rest = self.crm(peer, timeout=0.3)
        began = reactor.seconds()
        fault = await self.fails(rest, Timeout, 'gave no answer within 0.3 s')
        took = reactor.seconds() - began
        self.assertTrue(0.3 <= took < 20, took)
        self.assertEqual(fault.status, 504)
        self.assertEqual((await rest.get(timeout=30)).text, 'fine')
        self.assertEqual(peer.accepted, 2)

    async def test_at_each_stage(self) -> None:
        """A peer that freezes in the middle of its head or its body is as late as one that says nothing."""
        for said in (b'HTTP/1.1 2', b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n', b'HTTP/1.1 100 Continue\r\n\r\n',
                     b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc',
                     b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n'):  # fmt: skip
            peer = self.slow_start(raw(said))
            rest = self.crm(peer)
            await self.fails(rest, Timeout, 'gave no answer within 0.2 s', timeout=0.2)
            self.assertEqual((await rest.get()).text, 'fine')

    async def test_drop_by_drop(self) -> None:
        """A peer that never stops sending is late all the same: the time is for the whole call."""

        dripping: list[Deferred[None]] = []

        def answer(peer: Peer, request: Request) -> None:
            peer.say(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
            dripping.append(started(drip(peer)))

        async def drip(peer: Peer) -> None:
            while peer in peer.factory.peers:
                peer.say(b'1\r\nx\r\n')
                await deferLater(reactor, 0.02)

        await self.fails(self.crm(self.listen(answer), timeout=0.3), Timeout, 'gave no answer within 0.3 s')
        await dripping[0]

    async def test_a_time_of_its_own(self) -> None:
        """A call may have less than its connection gives, or more."""
        rest = self.crm(self.listen(silent), timeout=30)
        await self.fails(rest, Timeout, 'gave no answer within 0.15 s', timeout=0.15)

    async def test_the_deadline_of_the_request(self) -> None:
        """Where the request has less time than the connection gives, that counts; the fault comes a moment before the
        request is given up, so that it can still be told."""
        rest = self.crm(self.listen(silent), call=Asking(deadline=reactor.seconds() + 1.0), timeout=30)
        fault = await self.fault(rest.get(), Timeout)
        self.assertRegex(fault.msg, r'^Outgoing connection CRM \(rest\) gave no answer within 0(\.\d+)? s$')
        late = self.crm(self.listen(silent), call=Asking(deadline=reactor.seconds() - 1))
        await self.fails(late, Timeout, 'gave no answer within 0 s')

    async def test_waiting_for_a_connection(self) -> None:
        """The wait for the pool is within the time too, and so is what waits there: it is not sent when it is late."""
        peer = self.slow_start(silent)
        rest = self.crm(peer, pool_size=1, timeout=1)
        first = started(rest.get())
        second = await self.fault(rest.get(), Timeout)
        self.assertEqual(second.msg, f'{TITLE} gave no answer within 1 s')
        await self.assertFailure(first, Timeout)
        self.assertEqual(len(peer.requests), 1)
        self.assertEqual((await rest.get(timeout=30)).text, 'fine')

    async def test_connecting(self) -> None:
        """A time for connecting alone: the rest of the call's time is left for trying once more."""
        with closing(socket.socket()) as full:
            full.bind(('127.0.0.1', 0))
            full.listen(0)
            port = full.getsockname()[1]
            with closing(socket.create_connection(('127.0.0.1', port))):
                rest = self.crm(port, connect_timeout=0.2, timeout=30)
                began = reactor.seconds()
                fault = await self.fault(rest.get(), Timeout)
                self.assertLess(reactor.seconds() - began, 25)
        self.assertEqual(fault.msg, f'{TITLE} gave no answer within 0.2 s')

    async def test_lost(self) -> None:
        """The connection is closed or reset before an answer, within its head, within its body."""
        sentence = 'cannot be used: the connection was lost before the answer was whole'
        for said in (b'', b'HTTP/1.1 200 OK\r\nContent-Le', b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc'):
            for reset in (False, True):
                peer = self.slow_start(ends(said, reset=reset))
                rest = self.crm(peer)
                await self.fault(rest.post('x'), ServiceUnavailable)
                self.assertEqual((await rest.get()).text, 'fine')
        await self.fails(self.crm(self.listen(ends(b''))), ServiceUnavailable, sentence)

    async def test_nonsense(self) -> None:
        """What is not HTTP, or ends in two places, is BadGateway; nobody gets the rest as the next answer."""
        for said in (b'SSH-2.0-x\r\n', b'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab',
                     b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
                     b'HTTP/1.1 200 OK\r\nX: ' + b'x' * 100_000, b'HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n',
                     ):  # fmt: skip
            peer = self.slow_start(raw(said))
            rest = self.crm(peer)
            fault = await self.fails(rest, BadGateway, 'gave no usable answer: it is not HTTP')
            self.assertEqual(fault.status, 502)
            self.assertEqual((await rest.get()).text, 'fine')

    async def test_too_much(self) -> None:
        """Answers larger than they may be, as they come or once they are unpacked; damaged ones."""
        huge = b'x' * 5000
        rest = self.crm(self.listen(says(b'200 OK', huge)), max_response_size=1000)
        await self.fails(rest, BadGateway, 'gave no usable answer: it is larger than it may be')
        for body in (gzip.compress(b'\0' * 10_000_000), b'no gzip'):
            rest = self.crm(self.listen(says(b'200 OK', body, b'Content-Encoding: gzip')), max_response_size=20_000)
            await self.fails(rest, BadGateway, 'gave no usable answer: its body is damaged, or grows too large when it '
                                               'is unpacked')

    async def test_redirections(self) -> None:
        """In circles; to what is no URL; from https to http, with a body."""
        circle = self.crm(self.listen(says(b'302 Found', b'', b'Location: /')))
        await self.fails(circle, BadGateway, 'gave no usable answer: it redirects without end')
        nowhere = self.crm(self.listen(says(b'302 Found', b'', b'Location: gopher://x/')))
        await self.fails(nowhere, BadGateway, 'gave no usable answer: it redirects to where calls must not go')

    async def test_certificates(self) -> None:
        """One of another authority, or for another name, is not accepted, and the fault is the same: what it was stands
        in its cause. With the right authority all is well."""
        authority = Authority(Path(self.mktemp()))
        right = self.listen(FINE, tls=server_tls(authority.sign('right', '127.0.0.1')))
        wrong = self.listen(FINE, tls=server_tls(authority.sign('wrong', 'example.com')))
        ca = authority.path.read_text()
        sentence = 'cannot be used: TLS could not be agreed on, or a certificate was not accepted'
        fault = await self.fails(self.crm(right, scheme='https'), ServiceUnavailable, sentence)
        self.assertIn('127.0.0.1', str(fault.__cause__))
        fault = await self.fails(self.crm(wrong, scheme='https', tls_ca=ca), ServiceUnavailable, sentence)
        self.assertIn('example.com', str(fault.__cause__))
        for fields in ({'tls_ca': ca}, {'tls_verify': False}):
            self.assertEqual((await self.crm(right, scheme='https', **fields).get()).text, 'fine')

    async def test_our_certificate(self) -> None:
        """A peer that wants to see one gets the connection's; without it there is no call."""
        directory = Path(self.mktemp())
        authority, clients = Authority(directory), Authority(directory / 'clients', 'clients')
        peer = self.listen(FINE, tls=server_tls(authority.sign('right', '127.0.0.1'), clients=clients.path))
        certificate, key = clients.sign('zatotx')
        fields: dict[str, Any] = {'scheme': 'https', 'tls_ca': authority.path.read_text()}
        rest = self.crm(peer, tls_cert=certificate.read_text(), tls_key=key.read_text(), **fields)
        self.assertEqual((await rest.get()).text, 'fine')
        await self.fault(self.crm(peer, **fields).get(), ServiceUnavailable)

    async def test_a_proxy_that_is_not_there(self) -> None:
        """Of which the fault says that, and nothing of its credentials."""
        rest = self.crm(80, host='https://crm.invalid', proxy=f'http://user:secret@127.0.0.1:{free_port()}')
        fault = await self.fault(rest.get(), ServiceUnavailable)
        self.assertNotIn('secret', f'{fault} {fault.__cause__}')

    async def test_said_once(self) -> None:
        """The log has what happened, with the address, once until it works again; what is our own doing is not said."""
        said: list[str] = []
        port = free_port()
        self.patch(FailureLog, '_log', Heard(said))
        rest = self.crm(port, max_in_flight=1)
        for _ in range(3):
            await self.fault(rest.get(), ServiceUnavailable)
        self.assertEqual(said, [f'{TITLE}: nobody listens at 127.0.0.1:{port}'])
        peer = self.listen(FINE)
        again = reactor.listenTCP(port, peer, interface='127.0.0.1')
        self.addCleanup(again.stopListening)
        await rest.get()
        await rest.get()
        self.assertEqual(said[1:], [f'{TITLE} works again'])
        peer.answer = silent
        calling = started(rest.get())
        await self.fault(rest.get(), ServiceUnavailable)
        calling.cancel()
        self.failureResultOf(calling)
        self.assertEqual(len(said), 2)

    async def test_pings(self) -> None:
        """Who asks whether a peer is there finds in the log why it cannot be said, as who calls it does."""
        said: list[str] = []
        port = free_port()
        self.patch(FailureLog, '_log', Heard(said))
        rest = self.crm(port)
        await self.fault(rest.ping(), ServiceUnavailable)
        self.assertEqual(said, [f'{TITLE}: nobody listens at 127.0.0.1:{port}'])
        again = reactor.listenTCP(port, self.listen(FINE), interface='127.0.0.1')
        self.addCleanup(again.stopListening)
        await rest.ping()
        self.assertEqual(said[1:], [f'{TITLE} works again'])

    def test_words_for_all(self) -> None:
        """Every failure of the client has a fault, and each of the four kinds a status that people know."""
        for kind in every(CallFailed):
            failed = kind(1.0) if kind is error_mapping.CircuitOpen else kind('something about 10.0.0.1')
            fault: Any = error_mapping.map_client_error(failed, TITLE, CID, 10.0)
            self.assertIn(fault.status, (502, 503, 504), kind)
            self.assertTrue(fault.msg.startswith(TITLE), kind)
            self.assertNotIn('10.0.0.1', fault.msg)
            self.assertNotIn('None', fault.msg)


class BulkheadTests(WithConnections):
    async def test_max_in_flight(self) -> None:
        """Over it calls fail at once, before they wait for anything; with the end of one there is room again."""
        rest = self.crm(self.listen(silent), max_in_flight=2, timeout=0.3)
        first, second = started(rest.get()), started(rest.get())
        fault = await self.fault(rest.get(), ServiceUnavailable)
        self.assertEqual(fault.msg, f'{TITLE} cannot be used: as many calls are under way as it may have')
        await self.assertFailure(first, Timeout)
        await self.assertFailure(second, Timeout)
        await self.fault(rest.get(), Timeout)
        self.assertEqual(self.slots().in_flight, 0)

    async def test_whoever_counts(self) -> None:
        """Two connections that share a meter, as those beyond the number that is shown do, have room of their own."""
        shared = self.slots()
        self.patch(self.meters.outgoing('rest'), 'get', lambda name: shared)
        rest = self.crm(self.listen(silent), max_in_flight=1, timeout=0.3)
        other = self.crm(self.listen(FINE), max_in_flight=1)
        waiting = started(rest.get())
        self.assertEqual((await other.get()).text, 'fine')
        await self.assertFailure(waiting, Timeout)

    async def test_given_up(self) -> None:
        """A call whose caller leaves frees its place, and its connection is closed."""
        peer = self.listen(silent)
        rest = self.crm(peer, max_in_flight=1)
        calling = started(rest.get())
        await self.until(lambda: peer.requests)
        calling.cancel()
        await self.until(lambda: not peer.peers)
        peer.answer = FINE
        self.assertEqual((await rest.get()).text, 'fine')
        self.failureResultOf(calling)
        self.assertEqual(self.slots().in_flight, 0)


class TroubleTests(SynchronousTestCase):
    def test_now_and_then(self) -> None:
        """A peer that fails every other call has two lines in ten seconds, however many calls there are."""
        said: list[str] = []
        self.patch(FailureLog, '_log', Heard(said))
        clock = Clock()
        trouble = FailureLog('CRM', clock.seconds)
        for _ in range(100):
            trouble.failed('lost')
            trouble.recovered()
        self.assertEqual(said, ['CRM: lost', 'CRM works again'])
        clock.advance(10)
        trouble.failed('late')
        trouble.failed('lost')
        self.assertEqual((said[2:], trouble.cause), (['CRM: late'], 'lost'))


class Heard:
    """A log that keeps sentences."""

    def __init__(self, said: list[str]) -> None:
        self._said = said

    def warn(self, text: str, **names: Any) -> None:
        self._said.append(text.format(**names))

    info = warn


def every(kind: type[Any]) -> list[type[Any]]:
    return [kind, *(one for below in kind.__subclasses__() for one in every(below))]
