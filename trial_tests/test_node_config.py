"""A node's live configuration: level with the ODB, whatever happens to Redis or the ODB meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zatotx.interfaces.config import NodeRow
from zatotx.model.faults import ServiceUnavailable
from zatotx.node.config import ALIVE, BEAT, LiveConfig, living
from zatotx.schema.security import BasicAuth
from zatotx.schema.snapshot import Actor, Changes, Operation, Snapshot, Stored


def user(number: int, revision: int) -> Stored:
    return Stored(number, 'basic_auth', BasicAuth(name=f'u{number}', username='u'), revision)


class ScriptedStore:
    """An ODB with one object a revision, which may be away."""

    def __init__(self) -> None:
        self.revision = 0
        self.away: Exception | None = None
        self.beats: list[int] = []

    def _answer(self, value: Any) -> Deferred[Any]:
        return succeed(value) if self.away is None else fail(self.away)

    def write(self, operations: Any, actor: Actor) -> Deferred[Any]:
        if self.away is None:
            self.revision += 1
        return self._answer(self.revision)

    def changes(self, since: int) -> Deferred[Any]:
        changed = tuple(user(n, n) for n in range(since + 1, self.revision + 1))
        return self._answer(Changes(self.revision, changed))

    def nodes(self) -> Deferred[Any]:
        return self._answer([])

    def beat(self, node_id: int, applied: int, verdicts: dict[int, str]) -> Deferred[Any]:
        self.beats.append(applied)
        return self._answer(self.revision)


class ScriptedBus:
    """A bus that may lose what it is told."""

    def __init__(self) -> None:
        self.heard: Callable[[str], None] = lambda message: None
        self.announced: list[str] = []
        self.away = False

    def subscribe(self, topic: str, heard: Callable[[str], None]) -> None:
        self.heard = heard

    def announce(self, topic: str, message: str) -> Deferred[None]:
        self.announced.append(message)
        return fail(ServiceUnavailable(None, 'Redis is away')) if self.away else succeed(None)


class LiveConfigTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store, self.bus, self.clock = ScriptedStore(), ScriptedBus(), Clock()
        self.applied: list[int] = []
        self.config = LiveConfig(self.store, self.bus, self.clock, [self.apply], dict)
        self.config.start()

    def apply(self, snapshot: Snapshot) -> Deferred[None]:
        self.applied.append(snapshot.revision)
        return succeed(None)

    def change(self) -> Deferred[int]:
        return self.config.change([Operation(action='create', type='basic_auth', name='x')], Actor('me'))

    def test_a_change_is_in_force_and_announced_when_it_is_over(self) -> None:
        """What was written is applied here, told to the others, and said in the node's row."""
        self.assertEqual(self.successResultOf(self.change()), 1)
        self.assertEqual((self.applied, self.bus.announced, self.store.beats), ([1], ['1'], [1]))
        self.assertIsNotNone(self.config.snapshot.named('basic_auth', 'u1'))

    def test_an_announcement_is_followed_at_once(self) -> None:
        """Old news is no reason to look."""
        self.store.revision = 2
        self.bus.heard('2')
        self.bus.heard('1')
        self.assertEqual(self.applied, [2])

    def test_a_missed_announcement_is_made_good_by_the_beat(self) -> None:
        """Within two seconds, without Redis."""
        self.store.revision = 3
        self.clock.advance(BEAT)
        self.assertEqual(self.applied, [3])

    def test_a_lost_announcement_does_not_fail_the_change(self) -> None:
        """Redis may be away."""
        self.bus.away = True
        self.assertEqual(self.successResultOf(self.change()), 1)
        self.assertEqual(self.applied, [1])

    def test_while_the_odb_is_away_what_is_in_force_stays(self) -> None:
        """Writes fail with its reason; what was missed is in force after its return."""
        self.successResultOf(self.change())
        self.store.away = ServiceUnavailable(None, 'The ODB is away')
        self.failureResultOf(self.change(), ServiceUnavailable)
        self.clock.pump([BEAT, BEAT])
        self.assertEqual((self.config.away, self.config.snapshot.revision), ('The ODB is away', 1))
        self.store.away = None
        self.store.revision = 5
        self.clock.pump([BEAT, BEAT])
        self.assertEqual((self.config.away, self.config.snapshot.revision), ('', 5))

    def test_an_odb_restored_from_a_backup_is_read_anew(self) -> None:
        """A revision lower than ours means that what we know may never have been."""
        self.store.revision = 5
        self.clock.advance(BEAT)
        self.store.revision = 2
        self.clock.advance(BEAT)
        self.assertEqual(self.config.snapshot.revision, 2)
        self.assertEqual([stored.name for stored in self.config.snapshot], ['u1', 'u2'])

    def test_stopped_it_follows_no_more(self) -> None:
        """No beat, nothing applied."""
        self.successResultOf(self.config.stop())
        self.store.revision = 4
        self.clock.advance(10 * BEAT)
        self.assertEqual((self.applied, self.store.beats), ([], []))


class LivingTests(SynchronousTestCase):
    def test_living_nodes_are_those_that_run_and_were_heard_of(self) -> None:
        """A clean stop and a long silence both end a node's life."""
        def row(name: str, status: str, seen: float) -> NodeRow:
            return NodeRow(id=1, name=name, up_status=status, seen_at=seen)
        rows = [row('well', 'running', 100), row('silent', 'running', 99 - ALIVE), row('down', 'clean-down', 100)]
        self.assertEqual([node.name for node in living(rows, 100.5)], ['well'])
