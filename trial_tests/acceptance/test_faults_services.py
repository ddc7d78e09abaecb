"""Services that misbehave: each is named in the log with its cid, and nobody else is harmed."""

from __future__ import annotations

import time

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker
from trial_tests.support.clients import loaded, percentile, statuses
from trial_tests.support.rawhttp import Answer, connected, request_bytes
from trial_tests.support.served import SERVICES, one_server
from trial_tests.support.waiting import allowed

SECRET = 'a-secret-of-the-inside'


class FaultyServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker: Broker = one_server()

    def call(self, name: str, cid: str, deadline: int = 0) -> Answer:
        fields = {'Content-Type': 'application/json', 'X-Zato-CID': cid}
        if deadline:
            fields['X-Zato-Deadline-Ms'] = str(deadline)
        return self.broker.ask('POST', f'/acc/{name}', fields=fields, body=b'{}')

    def others_are_well(self) -> None:
        answer = self.broker.ask('POST', '/acc/echo', fields={'Content-Type': 'application/json'}, body=b'{"a": 1}')
        self.assertEqual((answer.status, answer.json()), (200, {'a': 1}))

    def test_raising_is_500_with_its_cid_and_no_inside(self) -> None:
        """The caller sees the cid and a constant sentence; the log has service, cid and traceback."""
        for name in ('raises', 'raises.thread'):
            cid = f'raising.{name}'
            answer = self.call(name, cid)
            self.assertEqual(answer.status, 500)
            self.assertEqual(answer.json()['zato_env']['cid'], cid)
            self.assertNotIn(SECRET, answer.body.decode())
            self.assertNotIn('Traceback', answer.body.decode())
            self.broker.logged(cid, f'acc.{name}')
            self.broker.logged(SECRET)
        self.others_are_well()

    def test_raising_is_logged_once(self) -> None:
        """One fault, one traceback."""
        self.call('raises', 'raising.once')
        self.broker.logged('raising.once', 'acc.raises')
        lines = [line for line in self.broker.log(name='server.log').splitlines() if 'raising.once' in line]
        self.assertEqual(len(lines), 1, lines)

    def test_a_fault_says_why(self) -> None:
        """BadRequest(cid, text): the text reaches the caller."""
        answer = self.call('says-why', 'saying.why.1')
        self.assertEqual((answer.status, answer.details), (400, 'The account is closed'))

    def test_exiting_ends_the_request_not_the_server(self) -> None:
        """sys.exit in a service is a fault like any other."""
        for name in ('exits', 'exits.thread'):
            self.assertEqual(self.call(name, f'leaving.{name}').status, 500)
            self.others_are_well()

    def test_endless_recursion_ends(self) -> None:
        """The depth of invoke is bounded; the caller gets an answer at once."""
        began = time.monotonic()
        self.assertEqual(self.call('endless', 'endless.call').status, 500)
        self.assertLess(time.monotonic() - began, 30)
        self.others_are_well()

    def test_hanging_ends_at_the_deadline(self) -> None:
        """504 in time, and the service is cancelled, so that what it holds is let go."""
        began = time.monotonic()
        answer = self.call('hangs', 'hanging.call', deadline=400)
        self.assertEqual(answer.status, 504)
        self.assertLess(time.monotonic() - began, 30)
        self.broker.logged('hanging.call', 'Hanging no more')

    def test_hanging_is_cancelled_when_the_client_leaves(self) -> None:
        """Nobody waits for the answer, so nothing waits for the service."""
        with connected(self.broker.port()) as connection:
            connection.send(request_bytes('POST', '/acc/hangs', {'X-Zato-CID': 'leaving.call'}, b'{}'))
            self.broker.logged('leaving.call', 'Hanging now')
        self.broker.logged('leaving.call', 'Hanging no more')

    def test_a_hanging_thread_is_answered_at_the_deadline(self) -> None:
        """A thread cannot be cancelled, but its caller need not wait for it."""
        began = time.monotonic()
        self.assertEqual(self.call('hangs.thread', 'hanging.thread', deadline=300).status, 504)
        self.assertLess(time.monotonic() - began, 30)

    def test_hanging_threads_do_not_starve_async_services(self) -> None:
        """All threads of the pool asleep: what runs on the reactor answers as ever."""
        fields = {'Content-Type': 'application/json', 'X-Zato-Deadline-Ms': '300'}
        with loaded(self.broker.port(), 'POST', '/acc/hangs.thread', fields=fields, body=b'{}', clients=30), \
                loaded(self.broker.port(), 'GET', '/zato/ping', pause=0.01, clients=1) as pings:
            self.call('hangs', 'meanwhile.1', deadline=1500)
        self.assertEqual(set(statuses(pings.seen)), {'200'})
        self.assertLess(percentile(pings.seen, 0.5), allowed(1.0))  # of the most: a busy machine may keep a few

    def test_blocking_the_reactor_is_reported_with_its_line(self) -> None:
        """Service, file and line stand in the log within 5 s."""
        line = SERVICES.splitlines().index('        time.sleep(2)  # the line that the log names') + 1
        self.assertEqual(self.call('blocks', 'blocking.call').status, 200)
        self.broker.logged('acc.blocks', f'acc.py:{line}')
        self.others_are_well()

    def test_a_wrong_answer_is_500_naming_the_service_in_the_log(self) -> None:
        """What JSON cannot say is the service's mistake: named in the log, by cid."""
        for name in ('wrong-type', 'wrong-type.thread'):
            cid = f'wrong.{name}'
            self.assertEqual(self.call(name, cid).status, 500)
            self.broker.logged(cid, f'acc.{name}')
        self.others_are_well()

    def test_a_service_cannot_split_the_answer(self) -> None:
        """CR and LF in a header value never reach the wire."""
        answer = self.call('splits', 'splitting.call')
        self.assertEqual(answer.field('x-injected'), '')
        self.assertEqual(answer.status, 500)

    def test_an_unknown_service_is_404(self) -> None:
        """Through the administrator's door, named."""
        answer = self.broker.invoke('no.such.service')
        self.assertEqual(answer.status, 404)
        self.assertIn('no.such.service', answer.details)
