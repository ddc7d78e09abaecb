"""The limits on a real server: too many at once, a queue, threads that never return, ten times what it can do."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from bench.openloop import Outcome
from trial_tests.support.broker import Broker
from trial_tests.support.rawhttp import Answer, Connection, connected, request_bytes
from trial_tests.support.served import one_server
from trial_tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]
MIB = 2**20
SERVICES = '''
from threading import Event

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from zatotx import Service

held = []
begun = []
let_go = Event()


class Hold(Service):
    """ Holds each request until Release is called; answers the how-manieth it was. """
    name = 'limits.hold'

    async def handle(self):
        begun.append(self.cid)
        number = len(begun)
        waiting = Deferred()
        held.append(waiting)
        await waiting
        self.response.payload = {'number': number}


class Release(Service):
    """ Lets go whom Hold holds: how many that were. """
    name = 'limits.release'

    async def handle(self):
        waiting, held[:] = list(held), []
        for one in waiting:
            if not one.called:
                one.callback(None)
        self.response.payload = {'released': len(waiting)}


class Waits(Service):
    name = 'limits.waits'

    async def handle(self):
        await deferLater(reactor, 0.05)
        self.response.payload = {'waited': True}


class Never(Service):
    """ Does not return before LetGo is called. """
    name = 'limits.never'

    def handle(self):
        let_go.wait(120)  # the line it is at


class LetGo(Service):
    name = 'limits.let-go'

    async def handle(self):
        let_go.set()


class Caller(Service):
    """ Calls Hold. """
    name = 'limits.caller'

    async def handle(self):
        await self.invoke('limits.hold')
'''
CHANNELS = '''
channel_rest:
  - {name: limits.hold, url_path: /limits/hold, service: limits.hold, security: null, data_format: json}
  - {name: limits.caller, url_path: /limits/caller, service: limits.caller, security: null, data_format: json}
  - {name: limits.never, url_path: /limits/never, service: limits.never, security: null, data_format: json}
  - {name: limits.queue, url_path: /limits/queue, service: limits.hold, security: null, data_format: json,
     max_in_flight: 2, queue: 3, queue_timeout: 60}
  - {name: limits.waits, url_path: /limits/waits, service: limits.waits, security: null, data_format: json,
     max_in_flight: 20}
'''


class ServerCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker: Broker = one_server()
        if self.broker.ask('GET', '/limits/waits').status == 404:
            self.broker.serve('limits.py', SERVICES)
            self.broker.configure(CHANNELS)
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)
        self.addCleanup(self.invoke, 'limits.release')

    def invoke(self, service: str, **payload: object) -> object:
        answer = self.broker.invoke(service, msgspec.json.encode(payload))
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json() if answer.body else None

    def limit(self, service: str, most: object) -> None:
        row = self.invoke('zato.service.get-by-name', name=service)
        assert isinstance(row, dict)
        ((_, fields),) = (item for item in row.items() if item[0] != 'zato_env')
        self.invoke('zato.service.edit', id=fields['id'], max_in_flight=most)

    def sent(self, path: str, count: int) -> list[Connection]:
        """So many clients that have sent a request each."""
        clients = [self.stack.enter_context(connected(self.broker.port())) for _ in range(count)]
        for client in clients:
            client.send(request_bytes('POST', path, {'Content-Type': 'application/json'}, b'{}'))
        return clients

    def metric(self, name: str, labels: str = '') -> float:
        text = self.broker.ask('GET', '/zato/metrics', fields=self.broker.admin()).body.decode()
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name) and labels in line)


class LimitTests(ServerCase):
    def refused(self, client: Connection) -> Answer:
        """The answer that turned this client away; its connection goes on."""
        answer = client.answer()
        self.assertEqual(answer.status, 503, answer.body)
        self.assertTrue(answer.field('retry-after').isdigit())
        client.send(request_bytes('GET', '/zato/ping'))
        self.assertEqual(client.answer().status, 200)
        return answer

    def in_flight(self, count: int) -> None:
        """Wait until the service has so many requests."""
        until(lambda: self.metric('zatotx_service_in_flight', '"limits.hold"') == count, f'{count} in flight')

    def queued(self, count: int) -> None:
        """Wait until so many stand in front of the channel."""
        until(lambda: self.metric('zatotx_channel_queue_length', 'limits.queue') == count, f'{count} in the queue')

    def test_over_the_limit_of_a_service(self) -> None:
        """Changed while it runs: five are served, ten get 503 at once on connections that stay, also what other
        services ask of it; afterwards all is as before."""
        self.limit('limits.hold', 5)
        self.addCleanup(self.limit, 'limits.hold', '')
        inside = self.sent('/limits/hold', 5)
        self.in_flight(5)
        for client in self.sent('/limits/hold', 10):
            self.assertIn('limits.hold is processing 5 requests', self.refused(client).details)
        (caller,) = self.sent('/limits/caller', 1)
        self.assertIn('limits.hold has 5 calls under way', self.refused(caller).details)
        self.assertGreaterEqual(self.metric('zatotx_service_refused_total', '"limits.hold"'), 11)
        self.invoke('limits.release')
        self.assertEqual([client.answer().status for client in inside], [200] * 5)
        self.in_flight(0)

    def test_the_usual_limit_is_a_thousand(self) -> None:
        """As the contract says."""
        self.assertEqual(self.metric('zatotx_service_limit', '"limits.hold"'), 1000)

    def test_a_queue_in_front_of_a_channel(self) -> None:
        """Two inside, three wait, two more get 503; one that leaves gives its place up; the others are served in the
        order in which they came."""
        clients = []
        for length in (0, 0, 1, 2, 3):
            clients += self.sent('/limits/queue', 1)
            self.queued(length)
        for client in self.sent('/limits/queue', 2):
            self.assertIn('3 may wait', self.refused(client).details)
        clients.pop(3).drop()
        self.queued(2)
        numbers = []
        for _ in range(2):
            self.in_flight(2)
            self.invoke('limits.release')
            numbers += [clients.pop(0).answer().json()['number'] for _ in range(2)]
        self.assertEqual(numbers, sorted(numbers))


class ThreadTests(ServerCase):
    def test_a_service_that_never_returns(self) -> None:
        """Its caller gets 504; the log names service, cid, file and line; metrics and doctor know of it until it is
        over."""
        fields = {'X-Zato-CID': 'never.returns', 'X-Zato-Deadline-Ms': '300'}
        self.assertEqual(self.broker.ask('POST', '/limits/never', fields=fields, body=b'{}').status, 504)
        line = SERVICES.splitlines().index('        let_go.wait(120)  # the line it is at') + 1
        place = f'limits.py:{line}'
        self.broker.logged('limits.never', 'never.returns', place, 'after its deadline')
        self.assertEqual(self.metric('zatotx_threads_stuck'), 1)
        self.assertIn(place, self.broker.run('doctor', str(self.broker.path)).text)
        self.invoke('limits.let-go')
        until(lambda: self.metric('zatotx_threads_stuck') == 0, 'the end of it')
        self.assertNotIn('limits.never', self.broker.invoke('zato.health.findings').body.decode())


class OverloadTests(ServerCase):
    def offered(self, rate: float, seconds: float) -> Outcome:
        """An open loop of so many requests a second, and a look at the server's memory and health meanwhile."""
        request = request_bytes('POST', '/limits/waits', {'Content-Type': 'application/json'}, b'{}')
        command = [sys.executable, '-m', 'bench.openloop', str(self.broker.port()), str(rate), str(seconds), '200']
        done = subprocess.run(command, input=request, capture_output=True, timeout=300, check=True, cwd=ROOT)
        return msgspec.json.decode(done.stdout, type=Outcome)

    def held(self, pid: int, name: str = 'VmHWM') -> int:
        return int(Path(f'/proc/{pid}/status').read_text().partition(f'{name}:')[2].split()[0]) * 1024

    def test_ten_times_what_it_can_do(self) -> None:
        """Nobody is cut off, answers are 200 or 503, what can be done is done, and memory stays where it was."""
        (pid,) = self.broker.pids()
        peak = self.offered(400, 2)
        Path(f'/proc/{pid}/clear_refs').write_text('5')
        before = self.held(pid, 'VmRSS')
        crowd = self.offered(4_000, 4)
        self.assertEqual((crowd.broken, set(crowd.statuses) - {'200', '503'}), (0, set()))
        self.assertGreater(crowd.statuses['503'], crowd.statuses['200'])
        self.assertGreater(crowd.goodput, 0.1 * peak.goodput)
        self.assertLess(self.held(pid) - before, 64 * MIB)
        until(lambda: self.metric('zatotx_service_in_flight', '"limits.waits"') == 0, 'an end')
        self.assertEqual(self.broker.ask('POST', '/limits/waits', body=b'{}').status, 200)
