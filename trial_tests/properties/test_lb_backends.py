"""What holds for a running backend whatever happens to it: no slot is lost or given twice, nobody waits for a server
that has room, nothing is left at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.properties import holds
from zatotx.interfaces.load_balancer import BalancingKey, IServerSlot, NoServerAvailableError, ServerUseOutcome
from zatotx.lb.backends.running_backend import RunningBackend
from zatotx.lb.config.model import Backend, Ejection, Server, ServerTimeouts, StickyCookie
from zatotx.rules.balancing.server_health import ServerHealth

ALGORITHMS = ('round_robin', 'least_connections', 'power_of_two', 'consistent_hash')
EVENTS = (*['acquire'] * 6, *['release'] * 3, 'acquire_now', 'leave', 'down', 'up', 'drain', 'ready', 'time',
          'configure')


class BackendModel:
    """A backend, and what its users hold."""

    def __init__(self, test: SynchronousTestCase, algorithm: str, limit: int) -> None:
        self.test, self.clock = test, Clock()
        self.algorithm, self.limit = algorithm, limit
        self.held: list[IServerSlot] = []
        self.waiting: list[Deferred[Any]] = []
        self.backend = RunningBackend(name='b', cluster='c', clock=self.clock, random=lambda: 0.5)
        self.configure(3)

    def configure(self, count: int) -> None:
        servers = {f's{number}': Server(host='h', port=number + 1, max_connections=self.limit, weight=number + 1,
                                        backup=number == 3) for number in range(count)}  # fmt: skip
        self.backend.apply(Backend(
            servers=servers, algorithm=self.algorithm, max_queue=5,  # type: ignore[arg-type]
            slow_start=2, sticky_cookie=StickyCookie(),
            ejection=Ejection(failures=2, duration=3), timeouts=ServerTimeouts(queue=4),
        ))  # fmt: skip

    def acquire(self, number: int) -> None:
        acquired = self.backend.acquire(self.key(number))
        self.waiting.append(acquired)
        acquired.addCallbacks(self.held.append, lambda failure: failure.trap(NoServerAvailableError, Exception))
        acquired.addBoth(lambda _: self.waiting.remove(acquired))

    def acquire_now(self, number: int) -> None:
        try:
            slot = self.backend.acquire_now(self.key(number), (f's{number % 4}',))
        except NoServerAvailableError:
            return
        if slot is not None:
            self.held.append(slot)

    def key(self, number: int) -> BalancingKey:
        servers = list(self.backend.servers.values())
        cookie = servers[number % len(servers)].cookie if servers and number % 3 == 0 else ''
        return BalancingKey(f'10.0.0.{number}', {}, {'zato-lb-c': cookie} if cookie else {})

    def release(self, number: int) -> None:
        if self.held:
            outcomes = list(ServerUseOutcome)
            self.held.pop(number % len(self.held)).release(outcomes[number % len(outcomes)])

    def leave(self, number: int) -> None:
        if self.waiting:
            self.waiting[number % len(self.waiting)].cancel()

    def _server(self, number: int) -> Any:
        servers = list(self.backend.servers.values())
        return servers[number % len(servers)] if servers else None

    def down(self, number: int) -> None:
        if (server := self._server(number)) is not None:
            server.set_health(ServerHealth(is_down=True, has_been_probed=True, has_been_up=True))

    def up(self, number: int) -> None:
        if (server := self._server(number)) is not None:
            server.set_health(server.health.record_good_probe(server.policy))

    def drain(self, number: int) -> None:
        if (server := self._server(number)) is not None:
            server.set_admin_state(('drain', 'maint')[number % 2])

    def ready(self, number: int) -> None:
        if (server := self._server(number)) is not None:
            server.set_admin_state('ready')

    def time(self, number: int) -> None:
        self.clock.advance(number % 4 + 0.25)

    def check(self) -> None:
        """Compare the backend with what its users hold."""
        backend, test = self.backend, self.test
        for server in backend.servers.values():
            test.assertGreaterEqual(server.in_flight, 0)
            if self.limit:
                test.assertLessEqual(server.in_flight, self.limit)
        held = [slot for slot in self.held if slot.name in backend.servers]
        test.assertLessEqual(sum(server.in_flight for server in backend.servers.values()), len(held))
        test.assertEqual(backend.queue_length, len(self.waiting))
        test.assertLessEqual(backend.queue_length, 5)
        if self.waiting:
            usable = [server for server in backend.servers.values() if server.is_usable and not server.is_backup]
            test.assertFalse(any(server.has_free_slot for server in usable), 'a request waits beside a free server')

    def end(self) -> None:
        """Release everything, and check that nothing is left."""
        self.backend.stop()
        self.test.assertEqual(self.waiting, [])
        for slot in self.held:
            slot.release(ServerUseOutcome.RESPONDED)
            slot.release(ServerUseOutcome.RESET)
        self.test.assertEqual([server.in_flight for server in self.backend.servers.values()],
                              [0] * len(self.backend.servers))
        self.test.assertEqual(self.clock.getDelayedCalls(), [])


class BackendProperties(SynchronousTestCase):
    @holds(
        examples=60, algorithm=st.sampled_from(ALGORITHMS), limit=st.sampled_from((1, 1, 2, 0)),
        events=st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 30)), min_size=20, max_size=60),
    )
    def test_any_history(self, algorithm: str, limit: int, events: list[tuple[str, int]]) -> None:
        """After any events, the counts are those of the slots that are held, and at the end nothing is left."""
        model = BackendModel(self, algorithm, limit)
        for name, number in events:
            action: Callable[[int], None] = getattr(model, name)
            action(number % 5 if name == 'configure' else number)
            model.check()
        model.end()
