"""Tests of running backends: slots, limits, the queue, draining, ejection, and changes of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zatotx.interfaces.load_balancer import BalancingKey, IServerSlot, NoServerAvailableError, ServerUseOutcome
from zatotx.lb.backends.backend_registry import BackendRegistry
from zatotx.lb.backends.backend_server import BackendServer
from zatotx.lb.backends.running_backend import RunningBackend
from zatotx.lb.config.model import (
    Backend,
    Configuration,
    Ejection,
    MainSettings,
    Server,
    ServerTimeouts,
    StickyCookie,
)
from zatotx.rules.balancing.server_health import ServerHealth

KEY = BalancingKey('10.0.0.1', {}, {})


def servers(count: int = 2, **fields: Any) -> dict[str, Server]:
    """Return servers named s1, s2, ..."""
    return {f's{number}': Server(host='127.0.0.1', port=8000 + number, **fields) for number in range(1, count + 1)}


class BackendTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def backend(self, config: Backend) -> RunningBackend:
        backend = RunningBackend(name='b', cluster='c', clock=self.clock, random=lambda: 0.0)
        backend.apply(config)
        return backend

    def take(self, backend: RunningBackend, key: BalancingKey = KEY, excluded: tuple[str, ...] = ()) -> IServerSlot:
        slot = backend.acquire_now(key, excluded)
        assert slot is not None
        return slot

    def take_names(self, backend: RunningBackend, count: int) -> str:
        """Acquire and release slots one by one, and return the sorted last characters of their servers' names."""
        names = []
        for _ in range(count):
            slot = self.take(backend)
            names.append(slot.name[-1])
            slot.release(ServerUseOutcome.RESPONDED)
        return ''.join(sorted(names))

    def fail_traffic(
        self, backend: RunningBackend, name: str, outcome: ServerUseOutcome = ServerUseOutcome.NOT_CONNECTED
    ) -> None:
        """Let requests to one server fail until it is ejected."""
        others = tuple(other for other in backend.servers if other != name)
        for _ in range(backend.config.ejection.failures):
            self.take(backend, excluded=others).release(outcome)


class SlotTests(BackendTestCase):
    def test_slots_are_counted(self) -> None:
        """A slot counts as a session of its server until it is released, once."""
        backend = self.backend(Backend(servers=servers(1)))
        slot = self.take(backend)
        self.assertEqual((slot.name, slot.host, slot.port, slot.cookie), ('s1', '127.0.0.1', 8001, ''))
        self.assertEqual([status.current_sessions for status in backend.statuses()], [1])
        slot.release(ServerUseOutcome.RESPONDED)
        slot.release(ServerUseOutcome.RESET)
        [status] = backend.statuses()
        self.assertEqual((status.current_sessions, status.total_requests, status.errors), (0, 1, 0))

    def test_every_algorithm_serves(self) -> None:
        """Each algorithm chooses servers; those that balance use both of two."""
        for algorithm in ('round_robin', 'least_connections', 'power_of_two'):
            backend = self.backend(Backend(servers=servers(2), algorithm=algorithm))
            self.assertEqual(len({self.take(backend).name for _ in range(4)}), 2, algorithm)

    def test_consistent_hash_sources(self) -> None:
        """The hash uses the address, or the header field or cookie that the backend names and demands."""
        many = servers(50)
        keys = [BalancingKey(f'10.0.0.{n}', {'x-tenant': str(n)}, {'sid': str(n)}) for n in range(1, 30)]
        for source, headers, cookies in (('address', (), ()), ('header:X-Tenant', ('x-tenant',), ()),
                                         ('cookie:sid', (), ('sid',))):
            backend = self.backend(Backend(servers=many, algorithm='consistent_hash', hash_on=source))
            self.assertEqual((backend.key_headers, backend.key_cookies), (headers, cookies))
            chosen = []
            for key in keys + keys:
                slot = self.take(backend, key)
                slot.release(ServerUseOutcome.RESPONDED)
                chosen.append(slot.name)
            self.assertEqual(chosen[: len(keys)], chosen[len(keys) :])
            self.assertGreater(len(set(chosen)), 5, source)

    def test_excluded_servers(self) -> None:
        """A retry gets another server; when all have been tried, it fails."""
        backend = self.backend(Backend(servers=servers(2)))
        self.assertEqual(self.take(backend, excluded=('s1',)).name, 's2')
        self.assertRaises(NoServerAvailableError, backend.acquire_now, KEY, ('s1', 's2'))

    def test_sticky_cookie(self) -> None:
        """A response sets the cookie of its server; later requests with the cookie go there, without a new one. While
        the server drains they still do; when it is down they move, and get the cookie of another one."""
        backend = self.backend(Backend(servers=servers(3), sticky_cookie=StickyCookie(), algorithm='round_robin'))
        self.assertEqual(backend.key_cookies, ('zato-lb-c',))
        first = self.take(backend)
        key = BalancingKey('10.0.0.1', {}, {'zato-lb-c': first.cookie})
        self.assertEqual({self.take(backend, key).name for _ in range(5)}, {first.name})
        self.assertEqual(self.take(backend, key).cookie, '')
        server = backend.servers[first.name]
        server.set_admin_state('drain')
        self.assertEqual(self.take(backend, key).name, first.name)
        server.set_health(ServerHealth(is_down=True, has_been_probed=True, reason='refused'))
        moved = self.take(backend, key)
        self.assertNotEqual(moved.name, first.name)
        self.assertEqual(moved.cookie, backend.servers[moved.name].cookie)
        self.assertTrue(self.take(backend, BalancingKey('', {}, {'zato-lb-c': 'forged'})).cookie)

    def test_a_full_server_keeps_its_clients(self) -> None:
        """If only the limit sends a request with a cookie elsewhere, it gets no new cookie."""
        backend = self.backend(Backend(servers=servers(2, max_connections=1), sticky_cookie=StickyCookie()))
        first = self.take(backend)
        other = self.take(backend, BalancingKey('', {}, {'zato-lb-c': first.cookie}))
        self.assertEqual((other.name != first.name, other.cookie), (True, ''))


class QueueTests(BackendTestCase):
    def test_limit_and_queue(self) -> None:
        """A request waits while all servers are at their limit, and gets the first slot that is released; those that
        wait are served in their order, before new ones."""
        backend = self.backend(Backend(servers=servers(1, max_connections=1)))
        slot = self.take(backend)
        self.assertIsNone(backend.acquire_now(KEY))
        first, second = backend.acquire(KEY), backend.acquire(KEY)
        self.assertNoResult(first)
        slot.release(ServerUseOutcome.RESPONDED)
        slot = self.successResultOf(first)
        self.assertNoResult(second)
        self.assertIsNone(backend.acquire_now(KEY))
        slot.release(ServerUseOutcome.RESPONDED)
        self.successResultOf(second)

    def test_deadline(self) -> None:
        """After the timeout of the queue, a request fails with a sentence that names the backend."""
        backend = self.backend(Backend(servers=servers(1, max_connections=1), timeouts=ServerTimeouts(queue=3)))
        self.take(backend)
        waiting = backend.acquire(KEY)
        self.clock.advance(2.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.2)
        error = self.failureResultOf(waiting, NoServerAvailableError).value
        self.assertEqual(str(error), 'No server of the backend b is available: all of its servers were full for 3 s')
        self.assertEqual((backend.queue_length, self.clock.getDelayedCalls()), (0, []))

    def test_bounded(self) -> None:
        """A request beyond the length of the queue fails at once."""
        backend = self.backend(Backend(servers=servers(1, max_connections=1), max_queue=1))
        self.take(backend)
        waiting = backend.acquire(KEY)
        self.failureResultOf(backend.acquire(KEY), NoServerAvailableError)
        self.assertNoResult(waiting)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)

    def test_leaving(self) -> None:
        """A cancelled request leaves the queue, and its slot goes to the next one."""
        backend = self.backend(Backend(servers=servers(1, max_connections=1)))
        slot = self.take(backend)
        first, second = backend.acquire(KEY), backend.acquire(KEY)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        slot.release(ServerUseOutcome.ABANDONED)
        self.successResultOf(second)
        self.assertEqual((backend.queue_length, self.clock.getDelayedCalls()), (0, []))

    def test_all_servers_away(self) -> None:
        """If the last server goes down, those that wait fail at once, and so do new requests."""
        backend = self.backend(Backend(servers=servers(1, max_connections=1)))
        self.take(backend)
        waiting = backend.acquire(KEY)
        backend.servers['s1'].set_health(ServerHealth(is_down=True, has_been_probed=True, reason='refused'))
        self.failureResultOf(waiting, NoServerAvailableError)
        error = self.failureResultOf(backend.acquire(KEY), NoServerAvailableError).value
        self.assertEqual(str(error), 'No server of the backend b is available: s1 is DOWN')
        self.assertEqual(backend.rejected, 2)

    def test_load_of_other_workers_counts(self) -> None:
        """With workers, the limit of a server counts the requests of all of them, and a request that waits is served
        soon after another worker has made room."""
        others = {'s1': 1}
        backend = RunningBackend(name='b', cluster='c', clock=self.clock, shares_load=True)
        backend.apply(Backend(servers=servers(1, max_connections=1)))
        backend.servers['s1'].load_of_others = lambda: others['s1']
        waiting = backend.acquire(KEY)
        self.clock.advance(0.05)
        self.assertNoResult(waiting)
        others['s1'] = 0
        self.clock.advance(0.05)
        self.successResultOf(waiting)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class StateTests(BackendTestCase):
    def test_administrative_states(self) -> None:
        """A server that drains or is in maintenance gets no new request, and keeps its slots."""
        backend = self.backend(Backend(servers=servers(2), algorithm='round_robin'))
        backend.servers['s1'].set_admin_state('drain')
        self.assertEqual(self.take_names(backend, 3), '222')
        backend.servers['s1'].set_admin_state('ready')
        backend.servers['s2'].set_admin_state('maint')
        self.assertEqual(self.take_names(backend, 3), '111')
        self.assertEqual([(status.state, status.reason) for status in backend.statuses()],
                         [('UP', ''), ('MAINT', 'set by the administrator')])

    def test_backup(self) -> None:
        """A backup server is used only while the others are away."""
        both: Mapping[str, Server] = {**servers(1), 'x9': Server(host='127.0.0.1', port=9000, backup=True)}
        backend = self.backend(Backend(servers=dict(both)))
        self.assertEqual(self.take_names(backend, 2), '11')
        backend.servers['s1'].set_health(ServerHealth(is_down=True, reason='refused', has_been_probed=True))
        self.assertEqual(self.take_names(backend, 2), '99')

    def test_ejection(self) -> None:
        """Three failures of the transport in a row eject a server for ten seconds; a hook starts a probe at once."""
        backend = self.backend(Backend(servers=servers(2)))
        probed = []
        backend.servers['s1'].on_ejection = lambda: probed.append('s1')
        self.fail_traffic(backend, 's1')
        self.assertEqual((self.take_names(backend, 3), probed), ('222', ['s1']))
        [status, _] = backend.statuses()
        self.assertEqual((status.state, status.reason, status.errors),
                         ('DOWN', '3 failures in a row, the last one: not connected', 3))
        self.clock.advance(10.1)
        self.assertIn('1', self.take_names(backend, 4))

    def test_outcomes_that_do_not_count(self) -> None:
        """A client that goes away says nothing about the server, and a response starts the count anew."""
        backend = self.backend(Backend(servers=servers(1)))
        for outcome in [ServerUseOutcome.ABANDONED] * 9 + [ServerUseOutcome.RESET, ServerUseOutcome.RESPONDED] * 9:
            self.take(backend).release(outcome)
        self.assertEqual(backend.statuses()[0].state, 'UP')

    def test_all_ejected(self) -> None:
        """If traffic has ejected all servers, all are used."""
        backend = self.backend(Backend(servers=servers(2)))
        for name in ('s1', 's2'):
            self.fail_traffic(backend, name, ServerUseOutcome.TIMED_OUT)
        self.assertEqual({self.take(backend).name for _ in range(4)}, {'s1', 's2'})

    def test_slow_start(self) -> None:
        """A server that comes up gets a tenth of its share at first, and all of it in the end."""
        backend = self.backend(Backend(servers=servers(2), algorithm='round_robin', slow_start=10))
        self.assertEqual([server.weight for server in backend.servers.values()], [1.0, 1.0])
        server = backend.servers['s1']
        server.set_health(ServerHealth(is_down=True, has_been_probed=True))
        server.set_health(ServerHealth(has_been_probed=True))
        self.assertEqual(server.weight, 0.1)
        self.assertEqual(self.take_names(backend, 11), '12222222222')
        self.clock.pump([0.5] * 10)
        self.assertEqual(server.weight, 0.5)
        self.clock.pump([0.5] * 11)
        self.assertEqual((server.weight, self.clock.getDelayedCalls()), (1.0, []))


class ConfigurationTests(BackendTestCase):
    def test_servers_keep_their_state_by_name(self) -> None:
        """A new configuration keeps the load, the counters, the health and the administrative state of the servers that
        stay; the slots of those that leave remain valid."""
        backend = self.backend(Backend(servers=servers(2)))
        old = {name: self.take(backend, excluded=(other,)) for name, other in (('s1', 's2'), ('s2', 's1'))}
        self.fail_traffic(backend, 's1')
        backend.servers['s1'].set_admin_state('drain')
        backend.apply(Backend(servers={'s1': servers(1)['s1'], 's3': servers(3)['s3']}))
        [first, third] = backend.statuses()
        self.assertEqual((first.name, first.state, first.current_sessions, first.errors), ('s1', 'DOWN', 1, 3))
        self.assertEqual(backend.servers['s1'].admin_state, 'drain')
        self.assertEqual((third.name, self.take(backend).name), ('s3', 's3'))
        old['s2'].release(ServerUseOutcome.RESPONDED)
        old['s1'].release(ServerUseOutcome.RESPONDED)
        self.assertEqual(backend.statuses()[0].current_sessions, 0)

    def test_changed_address_and_state(self) -> None:
        """A server at a new address starts with unknown health; the state in the configuration counts when it
        changes."""
        backend = self.backend(Backend(servers=servers(1), ejection=Ejection(failures=1)))
        self.fail_traffic(backend, 's1')
        backend.apply(Backend(servers={'s1': Server(host='127.0.0.1', port=9, state='drain')}))
        self.assertEqual([(status.state, status.address) for status in backend.statuses()], [('DRAIN', '127.0.0.1:9')])

    def test_hooks_and_lookup(self) -> None:
        """The registry reports servers that come and go, and says what is missing."""
        seen: list[str] = []
        registry = BackendRegistry(
            clock=self.clock,
            on_server_added=lambda server: seen.append(f'+{server.backend}/{server.name}'),
            on_server_removed=lambda server: seen.append(f'-{server.backend}/{server.name}'),
        )
        one = Configuration(main=MainSettings(cluster='c'), backends={'a': Backend(servers=servers(2))})
        two = Configuration(main=MainSettings(cluster='c'), backends={'a': Backend(servers=servers(1)),
                                                             'b': Backend(servers=servers(1))})
        registry.apply(one)
        registry.apply(two)
        self.assertEqual(seen, ['+a/s1', '+a/s2', '-a/s2', '+b/s1'])
        registry.apply(Configuration(main=MainSettings(cluster='c')))
        self.assertEqual(seen[4:], ['-a/s1', '-b/s1'])
        self.assertRaises(LookupError, registry.find, 'a')
        registry.apply(one)
        self.assertIsInstance(registry.find_server('a', 's1'), BackendServer)
        for backend, name, text in (('x', 's1', "There is no backend 'x'"),
                                    ('a', 's9', "The backend 'a' has no server 's9'")):
            self.assertIn(text, str(self.assertRaises(LookupError, registry.find_server, backend, name)))

    def test_stop(self) -> None:
        """Requests that wait fail when the load balancer stops, and no timer is left."""
        backend = self.backend(Backend(servers=servers(1, max_connections=1)))
        self.take(backend)
        waiting = backend.acquire(KEY)
        backend.stop()
        self.failureResultOf(waiting, NoServerAvailableError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
