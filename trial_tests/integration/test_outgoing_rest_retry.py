"""Calls that are made again, and peers that are left alone."""

from __future__ import annotations

import io
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.calling import Asking, Bodies, WithConnections, collecting, crm, started, stored
from trial_tests.support.ports import free_port
from zatotx import ServiceUnavailable, Timeout
from zatotx.connectors.call_policies import CircuitBreaking
from zatotx.interfaces.meters import NullMeter
from zatotx.plugins.http.client.errors import PeerReset
from zatotx.plugins.http.rest.error_mapping import CircuitOpen
from zatotx.plugins.http.rest.outgoing_sender_chain import is_peer_failure, is_server_error
from zatotx.plugins.http.schema.http_outgoing_base import RetrySettings
from zatotx.plugins.http.test.upstream_servers import Peer, Request, Upstream, ends, reactor, says, silent
from zatotx.rules.resilience.circuit_breaker import OPEN
from zatotx.rules.resilience.circuit_breaker import CircuitBreaker as Breaker
from zatotx.schema.circuit_breaker_settings import CircuitBreakerSettings
from zatotx.schema.snapshot import Snapshot

TITLE = 'Outgoing connection CRM (rest)'
FINE, BUSY = says(b'200 OK', b'fine'), says(b'503 Service Unavailable', b'busy')
QUICK = RetrySettings(attempts=3, backoff=0.01)

Answering = Callable[[Peer, Request], object]


def then(*answers: Answering) -> Answering:
    """One after the other; the last one for ever."""
    left = list(answers)

    def answer(peer: Peer, request: Request) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(peer, request)

    return answer


class RetryTests(WithConnections):
    def busy(self, times: int) -> Upstream:
        """A peer that is busy so many times, and then is not."""
        return self.listen(then(*[BUSY] * times, FINE))

    async def test_until_it_works(self) -> None:
        """As often as the connection says, the first time included; with the cid of the call, and a time of its own."""
        peer = self.busy(2)
        response = await self.crm(peer, retry=QUICK).get()
        self.assertEqual((response.text, len(peer.requests)), ('fine', 3))
        self.assertEqual(len({request.headers[b'x-zato-cid'] for request in peer.requests}), 1)
        self.assertEqual(len({request.headers[b'x-zato-msg-ts'] for request in peer.requests}), 3)
        self.assertEqual((self.slots().retries, self.slots().calls, self.slots().errors), (2, 1, 0))

    async def test_as_often_as_allowed(self) -> None:
        """Then the last answer is the answer."""
        peer = self.busy(9)
        response = await self.crm(peer, retry=QUICK).get()
        self.assertEqual((response.status_code, len(peer.requests)), (503, 3))

    async def test_not_by_itself(self) -> None:
        """A connection that says nothing of retries makes none."""
        peer = self.busy(9)
        self.assertEqual((await self.crm(peer).get()).status_code, 503)
        self.assertEqual(len(peer.requests), 1)

    async def test_which_methods(self) -> None:
        """Safe ones, those with an Idempotency-Key, and those that the connection's owner adds; no other, as the peer
        has got it."""
        key = {'Idempotency-Key': '1'}
        for method, more, times in (
            ('GET', {}, 3), ('HEAD', {}, 3), ('OPTIONS', {}, 3), ('POST', {}, 1), ('PUT', {}, 1), ('PATCH', {}, 1),
            ('DELETE', {}, 1), ('POST', {'headers': key}, 3), ('PATCH', {'headers': {'IDEMPOTENCY-KEY': 'x'}}, 3),
            ('POST', {'headers': {'Idempotency-Key': None}}, 1),
        ):  # fmt: skip
            peer = self.listen(says(b'503 Service Unavailable'))
            await self.crm(peer, retry=QUICK).call(method, **more)
            self.assertEqual(len(peer.requests), times, (method, more))
        peer = self.busy(9)
        await self.crm(peer, retry=RetrySettings(attempts=3, backoff=0, methods=['PUT'])).put('x')
        self.assertEqual(len(peer.requests), 3)

    async def test_which_answers(self) -> None:
        """Those that say "not now"; what a peer made of the request is an answer."""
        for status, more, times in (
            (b'502 x', [], 2), (b'503 x', [], 2), (b'504 x', [], 2), (b'500 x', [], 1), (b'404 x', [], 1),
            (b'429 x', [], 1), (b'429 x', [b'Retry-After: 0'], 2), (b'408 x', [], 1), (b'501 x', [], 1),
        ):  # fmt: skip
            peer = self.listen(then(says(status, b'', *more), FINE))
            await self.crm(peer, retry=RetrySettings(attempts=2, backoff=0)).get()
            self.assertEqual(len(peer.requests), times, status)

    async def test_what_never_arrived(self) -> None:
        """Is sent again whatever it is."""
        port = free_port()
        rest = self.crm(port, retry=RetrySettings(attempts=20, backoff=0.2))
        calling = started(rest.post({'a': 1}))
        await self.until(lambda: self.slots().retries)
        peer = self.listen(FINE)
        again = reactor.listenTCP(port, peer, interface='127.0.0.1')
        self.addCleanup(again.stopListening)
        self.assertEqual((await calling).text, 'fine')
        self.assertEqual([request.body for request in peer.requests], [b'{"a":1}'])

    async def test_what_was_lost(self) -> None:
        """A connection that was lost: again where the method may be, and nothing of it is seen by the service."""
        peer = self.listen(then(ends(b''), FINE))
        self.assertEqual((await self.crm(peer, retry=QUICK).get()).text, 'fine')
        peer = self.listen(then(ends(b''), FINE))
        await self.fault(self.crm(peer, retry=QUICK).post('x'), ServiceUnavailable)
        self.assertEqual(len(peer.requests), 1)

    async def test_bodies(self) -> None:
        """Are sent again where they can be: files from where they began; what can be made once is sent once."""
        key = {'Idempotency-Key': '1'}

        async def pieces() -> AsyncIterator[bytes]:
            yield b'abc'

        file = io.BytesIO(b'0abc')
        file.seek(1)
        for data, times in ((b'abc', 2), (file, 2)):
            peer = self.listen(then(BUSY, FINE))
            await self.crm(peer, retry=QUICK).post(data, headers=key)
            self.assertEqual([request.body for request in peer.requests], [b'abc'] * times)
        bodies: Bodies = []
        peer = collecting(self.listen(then(BUSY, FINE)), bodies)
        response = await self.crm(peer, retry=QUICK).post(pieces(), headers=key)
        self.assertEqual((response.status_code, [body for _, body in bodies]), (503, [b'abc']))

    async def test_within_its_time(self) -> None:
        """All attempts share the call's time: one that would begin after it is not made, whether that is the pause's
        doing or Retry-After's."""
        for more, retry in (([b'Retry-After: 30'], QUICK), ([], RetrySettings(attempts=3, backoff=60))):
            peer = self.listen(says(b'503 x', b'', *more))
            began = reactor.seconds()
            self.patch(random, 'random', lambda: 0.9)
            response = await self.crm(peer, retry=retry, timeout=25).get()
            self.assertEqual((response.status_code, len(peer.requests)), (503, 1))
            self.assertLess(reactor.seconds() - began, 20)
        peer = self.listen(then(BUSY, silent))
        fault = await self.fault(self.crm(peer, retry=QUICK, timeout=0.3).get(), Timeout)
        self.assertEqual(fault.msg, f'{TITLE} gave no answer within 0.3 s')

    async def test_retry_after(self) -> None:
        """Is kept to."""
        peer = self.listen(then(says(b'503 x', b'', b'Retry-After: 1'), FINE))
        began = reactor.seconds()
        self.assertEqual((await self.crm(peer, retry=QUICK).get()).text, 'fine')
        self.assertGreaterEqual(reactor.seconds() - began, 1.0)

    async def test_the_budget(self) -> None:
        """A peer that fails for good gets a fifth more than it would, not three times as much."""
        peer = self.listen(BUSY)
        rest = self.crm(peer, retry=RetrySettings(attempts=3, backoff=0))
        for _ in range(100):
            await rest.get()
        self.assertEqual(len(peer.requests), 120)

    async def test_given_up_in_the_pause(self) -> None:
        """Nothing is sent any more."""
        peer = self.busy(9)
        self.patch(random, 'random', lambda: 0.05)
        calling = started(self.crm(peer, retry=RetrySettings(attempts=3, backoff=60)).get())
        await self.until(lambda: self.slots().retries)
        calling.cancel()
        self.failureResultOf(calling)
        self.assertEqual((len(peer.requests), self.slots().in_flight), (1, 0))


class BreakerTests(WithConnections):
    async def test_opens(self) -> None:
        """After so many failures in a row nothing is sent, and the fault says so at once and when to come back; metrics
        and findings say it too."""
        peer = self.listen(says(b'500 x'))
        node = self.node(stored(crm(peer, circuit_breaker=CircuitBreakerSettings(failures=3, reset=60))))
        rest = node.namespaces['rest'](Asking())['CRM']
        for _ in range(3):
            self.assertEqual((await rest.get()).status_code, 500)
        self.assertEqual(len(peer.requests), 3)
        for _ in range(5):
            fault = await self.fault(rest.get(), ServiceUnavailable)
        self.assertEqual(fault.msg, f'{TITLE} cannot be used: it is cut off by its circuit breaker')
        self.assertTrue(50 <= fault.retry_after <= 60)
        self.assertEqual(len(peer.requests), 3)
        slots = self.slots()
        self.assertEqual(
            (slots.circuit_open, slots.circuits_opened, slots.errors_by_name), (True, 1, {'ServiceUnavailable': 5})
        )
        self.assertEqual(list(node.findings()), [
            f'{TITLE} is cut off by its circuit breaker, after 3 failures in a row (it answers with errors): see that '
            'its peer is well; one call is let through every 60 s to try',
        ])  # fmt: skip

    async def test_closes(self) -> None:
        """One call is let through after its time; where it is answered all are."""
        peer = self.listen(BUSY)
        rest = self.crm(peer, circuit_breaker=CircuitBreakerSettings(failures=2, reset=0.2))
        await rest.get()
        await rest.get()
        await self.fault(rest.get(), ServiceUnavailable)
        peer.answer = silent
        probes = len(peer.requests)
        await self.until(lambda: self._probing(rest, peer, probes))
        await self.fault(rest.get(), ServiceUnavailable)  # while the probe is under way
        self.assertEqual((self.slots().circuit_open, self.slots().circuit_half_open), (True, True))
        FINE(peer.peers[-1], peer.requests[-1])
        self.assertEqual((await self.probe).text, 'fine')
        peer.answer = FINE
        for _ in range(3):
            await rest.get()
        self.assertEqual((self.slots().circuit_open, self.slots().circuits_opened), (False, 1))
        self.assertFalse(self.slots().circuit_half_open)

    async def test_a_probe_without_an_end(self) -> None:
        """Whose caller gives up: the breaker is open as before, and the next call is the probe."""
        peer = self.listen(BUSY)
        rest = self.crm(peer, circuit_breaker=CircuitBreakerSettings(failures=1, reset=0.05))
        await rest.get()
        peer.answer = silent
        await self.until(lambda: self._probing(rest, peer, 1))
        self.assertTrue(self.slots().circuit_half_open)
        self.probe.cancel()
        self.failureResultOf(self.probe)
        self.assertEqual((self.slots().circuit_open, self.slots().circuit_half_open), (True, False))
        peer.answer = FINE
        self.assertEqual((await rest.get()).text, 'fine')

    def _probing(self, rest: Any, peer: Upstream, before: int) -> bool:
        if len(peer.requests) == before:
            self.probe = started(rest.get())
            self.probe.addErrback(lambda failure: failure.trap(ServiceUnavailable) and failure.value)
        return len(peer.requests) > before

    async def test_what_counts(self) -> None:
        """No answer, and answers of 5xx; not the peer's word that the request is wrong, nor what is our own doing."""
        for answer, opens in ((says(b'404 x'), False), (says(b'429 x'), False), (says(b'500 x'), True),
                              (says(b'503 x'), True), (ends(b''), True), (silent, True),
                              (says(b'200 OK', b'x' * 2000), False)):  # fmt: skip
            breaker = CircuitBreakerSettings(failures=1, reset=60)
            rest = self.crm(self.listen(answer), circuit_breaker=breaker, timeout=0.1 if answer is silent else 30,
                            max_response_size=1000)  # fmt: skip
            await started(rest.get()).addBoth(lambda result: None)
            self.assertIs(self.slots().circuit_open, opens)
        rest = self.crm(free_port(), circuit_breaker=CircuitBreakerSettings(failures=1, reset=60))
        await self.fault(rest.get(), ServiceUnavailable)
        self.assertTrue(self.slots().circuit_open)

    async def test_with_retries(self) -> None:
        """Each attempt counts, and the breaker ends them: what the last one gave is the answer."""
        peer = self.listen(BUSY)
        rest = self.crm(
            peer,
            retry=RetrySettings(attempts=5, backoff=0),
            circuit_breaker=CircuitBreakerSettings(failures=2, reset=60),
        )
        self.assertEqual((await rest.get()).status_code, 503)
        self.assertEqual(len(peer.requests), 2)
        await self.fault(rest.get(), ServiceUnavailable)
        rest = self.crm(free_port(), retry=RetrySettings(attempts=5, backoff=0),
                        circuit_breaker=CircuitBreakerSettings(failures=2, reset=60))  # fmt: skip
        fault = await self.fault(rest.get(), ServiceUnavailable)
        self.assertEqual(fault.msg, f'{TITLE} cannot be used: nobody is at its address')

    async def test_a_change_begins_anew(self) -> None:
        """An operator who changes the connection need not wait for the breaker of the old one."""
        peer = self.listen(BUSY)
        breaker = CircuitBreakerSettings(failures=1, reset=600)
        node = self.node(stored(crm(peer, circuit_breaker=breaker)))
        rest = node.namespaces['rest'](Asking())['CRM']
        await rest.get()
        await self.fault(rest.get(), ServiceUnavailable)
        await node.apply(Snapshot(2, [stored(crm(peer, circuit_breaker=breaker, timeout=9))]))
        self.assertFalse(self.slots().circuit_open)
        self.assertEqual((await rest.get()).status_code, 503)


class MomentTests(SynchronousTestCase):
    """To the moment, on a Clock."""

    def test_half_open(self) -> None:
        """Nothing before its time, one call after it; a probe whose caller leaves is nobody's verdict."""
        clock, results = Clock(), list[Any]()

        async def inner(request: object) -> Any:
            raise PeerReset('lost')

        breaker = Breaker(1, 10.0)
        broken = CircuitBreaking(
            inner, breaker, clock.seconds, NullMeter(), is_server_error, is_peer_failure, CircuitOpen
        )
        request: Any = None
        for later in (0.0, 0.0, 9.9, 0.2):
            clock.advance(later)
            results.append(self.failureResultOf(started(broken.send(request))).value)
        self.assertEqual([type(one) for one in results], [PeerReset, CircuitOpen, CircuitOpen, PeerReset])
        self.assertAlmostEqual(results[2].retry_after, 0.1)
        self.assertEqual((breaker.state, breaker.times_opened), (OPEN, 1))
