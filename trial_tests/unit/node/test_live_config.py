"""A node's live configuration: level with the ODB, whatever happens to Redis or the ODB meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from trial_tests.support.iterations import run_iteration
from zatotx.interfaces.config import NodeRow, OutdatedSnapshot, PreparedConfigChange
from zatotx.model.errors import ServiceUnavailable, Timeout, Unauthorized
from zatotx.model.message import ChannelSpec, Principal
from zatotx.node.live_config import CHANGES_PER_STEP, HEARTBEAT_INTERVAL, NODE_TIMEOUT, LiveConfig, live_nodes
from zatotx.pipeline.security.authentication_policy import AuthenticationPolicy
from zatotx.schema.snapshot import Actor, ChangeSet, Operation, Snapshot, StoredObject
from zatotx.security.basic_auth import BasicAuth
from zatotx.testing.fake_authenticator import FieldAuthenticator
from zatotx.testing.pipeline_doubles import make_message


def user(number: int, revision: int) -> StoredObject:
    return StoredObject(number, 'basic_auth', BasicAuth(name=f'u{number}', username='u'), revision)


class ScriptedStore:
    """An ODB with one object a revision, which may be unavailable."""

    def __init__(self) -> None:
        self.revision = 0
        self.away: Exception | None = None
        self.locked: Exception | None = None  # why nothing can be written, while all can be read
        self.unread: Exception | None = None  # why changes cannot be read, while there are beats
        self.slow: Deferred[None] | None = None  # changes are read when it fires
        self.reads = 0
        self.beats: list[int] = []

    def _answer(self, value: Any) -> Deferred[Any]:
        return succeed(value) if self.away is None else fail(self.away)

    def write(self, operations: Any, actor: Actor) -> Deferred[Any]:
        if self.away is None:
            self.revision += 1
        return self._answer(self.revision)

    def changes(self, since: int) -> Deferred[Any]:
        self.reads += 1
        if self.unread is not None:
            return fail(self.unread)
        if self.slow is not None:
            return self.slow.addCallback(lambda _: self._changes(since))
        return self._changes(since)

    def _changes(self, since: int) -> Deferred[Any]:
        changed = tuple(user(n, n) for n in range(since + 1, self.revision + 1))
        return self._answer(ChangeSet(self.revision, changed))

    def nodes(self) -> Deferred[Any]:
        return self._answer([])

    def record_heartbeat(self, node_id: int, applied: int, verdicts: dict[int, str], load: object) -> Deferred[Any]:
        self.beats.append(applied)
        return fail(self.locked) if self.locked else self._answer(self.revision)


class ScriptedBus:
    """A bus that may lose what it is told."""

    def __init__(self) -> None:
        self.heard: Callable[[str], None] = lambda message: None
        self.announced: list[str] = []
        self.away = False

    def subscribe(self, topic: str, heard: Callable[[str], None]) -> None:
        self.heard = heard

    def publish(self, topic: str, message: str) -> Deferred[None]:
        self.announced.append(message)
        return fail(ServiceUnavailable(None, 'Redis is unavailable')) if self.away else succeed(None)


class LiveConfigTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store, self.bus, self.clock = ScriptedStore(), ScriptedBus(), Clock()
        self.applied: list[int] = []
        self.config = LiveConfig(cast('Any', self.store), cast('Any', self.bus), self.clock, [self.prepare], dict)
        self.config.start()

    def prepare(self, snapshot: Snapshot) -> Deferred[PreparedConfigChange]:
        return succeed(PreparedConfigChange(lambda: self.applied.append(snapshot.revision)))

    def change(self) -> Deferred[int]:
        return self.config.change([Operation(action='create', type='basic_auth', name='x')], Actor('me'))

    def test_a_change_is_in_force_and_announced_when_it_is_over(self) -> None:
        """What was written is applied here, told to the others, and said in the node's row."""
        self.assertEqual(self.successResultOf(self.change()), 1)
        self.assertEqual((self.applied, self.bus.announced, self.store.beats), ([1], ['1'], [1]))
        self.assertIsNotNone(self.config.snapshot.find('basic_auth', 'u1'))

    def test_a_large_change_is_applied_in_steps(self) -> None:
        """Other events are handled after each 5000 objects; then the change is in force, and the large number of
        objects is reported once."""
        large: list[int] = []
        self.config.on_large_change = lambda: large.append(self.config.snapshot.revision)
        self.store.revision = 2 * CHANGES_PER_STEP
        syncing, steps = Deferred.fromCoroutine(self.config.sync()), 0
        while not syncing.called:
            self.assertEqual((self.applied, len(self.config.snapshot)), ([], 0))
            self.assertTrue(run_iteration(self.clock))
            steps += 1
        self.successResultOf(syncing)
        self.assertEqual((steps, self.applied, len(self.config.snapshot)), (2, [10_000], 10_000))
        self.assertEqual(self.successResultOf(self.change()), 10_001)
        self.assertEqual(large, [10_000])

    def test_an_announcement_is_followed_at_once(self) -> None:
        """Old news is no reason to look."""
        self.store.revision = 2
        self.bus.heard('2')
        self.bus.heard('1')
        self.assertEqual(self.applied, [2])

    def test_a_missed_announcement_is_made_good_by_the_beat(self) -> None:
        """Within two seconds, without Redis."""
        self.store.revision = 3
        self.clock.advance(HEARTBEAT_INTERVAL)
        self.assertEqual(self.applied, [3])

    def test_a_lost_announcement_does_not_fail_the_change(self) -> None:
        """Redis may be unavailable."""
        self.bus.away = True
        self.assertEqual(self.successResultOf(self.change()), 1)
        self.assertEqual(self.applied, [1])

    def test_while_the_odb_is_away_what_is_in_force_stays(self) -> None:
        """Writes fail with its reason; what was missed is in force after its return."""
        self.successResultOf(self.change())
        self.store.away = ServiceUnavailable(None, 'The ODB is unavailable')
        self.failureResultOf(self.change(), ServiceUnavailable)
        self.clock.pump([HEARTBEAT_INTERVAL, HEARTBEAT_INTERVAL])
        self.assertEqual((self.config.unavailable_reason, self.config.snapshot.revision), ('The ODB is unavailable', 1))
        self.store.away = None
        self.store.revision = 5
        self.clock.pump([HEARTBEAT_INTERVAL, HEARTBEAT_INTERVAL])
        self.assertEqual((self.config.unavailable_reason, self.config.snapshot.revision), ('', 5))

    def test_a_change_is_made_though_it_cannot_be_told(self) -> None:
        """The rows of nodes are locked: the change is there and in force, and nobody is told otherwise."""
        self.store.locked = ServiceUnavailable(None, 'Locked')
        self.assertEqual(self.successResultOf(self.change()), 1)
        self.assertEqual((self.applied, self.config.unavailable_reason), ([1], 'Locked'))

    def test_a_change_that_is_made_but_not_in_force_says_so(self) -> None:
        """The ODB went away right after the commit: who is told 503 must not take it for not made."""
        self.store.unread = Timeout(None, 'Frozen')
        said = str(self.failureResultOf(self.change(), ServiceUnavailable).value)
        self.assertIn('The change is stored as revision 1, but not in force yet', said)
        self.assertIn('(Frozen)', said)
        self.store.unread = None
        self.clock.advance(HEARTBEAT_INTERVAL)
        self.assertEqual(self.applied, [1])

    def test_all_who_wait_hear_at_once_that_the_odb_is_away(self) -> None:
        """Not one after the other, each after a deadline of its own."""
        frozen: Deferred[None] = Deferred()
        self.store.slow = frozen
        waiting = [self.change() for _ in range(5)]
        self.bus.heard('9')
        self.assertEqual(self.store.reads, 1)
        frozen.errback(Timeout(None, 'Frozen'))
        for each in waiting:
            self.failureResultOf(each, ServiceUnavailable)
        self.assertEqual(self.store.reads, 1)

    def test_changes_at_once_are_read_together(self) -> None:
        """Those that came while one was read are in force with the next."""
        reading: Deferred[None] = Deferred()
        self.store.slow = reading
        changes = [self.change() for _ in range(5)]
        self.store.slow = None
        reading.callback(None)
        self.assertEqual([self.successResultOf(each) for each in changes], [1, 2, 3, 4, 5])
        self.assertEqual((self.store.reads, self.config.snapshot.revision), (2, 5))

    def test_a_change_right_after_a_restored_backup_is_in_force(self) -> None:
        """Though its revision is lower than that of what was in force."""
        self.store.revision = 5
        self.clock.advance(HEARTBEAT_INTERVAL)
        self.store.revision = 1
        self.assertEqual(self.successResultOf(self.change()), 2)
        self.assertEqual(self.config.snapshot.revision, 2)

    def test_all_is_built_before_anything_is_in_force(self) -> None:
        """A large table of routes takes its time: the definitions that its channels name are those of before until
        it is there, and then all of it is in force in one go."""
        guard, building = (
            AuthenticationPolicy({'basic_auth': lambda stored: FieldAuthenticator(stored)}),
            Deferred[PreparedConfigChange](),
        )
        in_force: list[str] = []
        self.config.preparers = [guard.prepare, lambda snapshot: building]
        guard.apply(Snapshot(1, [StoredObject(1, 'basic_auth', BasicAuth(name='old', username='u'), 1)]))
        change = self.change()

        def who(security: str) -> str:
            inbound = make_message(channel=ChannelSpec(name='c', kind='http-soap', service='s', security=security),
                              headers={b'x-key': b''})  # fmt: skip
            found = guard.check(inbound)
            assert isinstance(found, Principal)
            return found.name

        self.assertEqual(who('old'), 'old')
        self.assertRaises(Unauthorized, who, 'u1')
        building.callback(PreparedConfigChange(lambda: in_force.append(who('u1'))))
        self.successResultOf(change)
        self.assertEqual(in_force, ['u1'])

    def test_what_cannot_be_built_changes_nothing(self) -> None:
        """What the others have built is discarded, and built anew with the next attempt."""
        discarded: list[int] = []
        failing = [ServiceUnavailable(None, 'The ODB is unavailable')]
        self.config.preparers = [
            lambda snapshot: succeed(PreparedConfigChange(lambda: self.applied.append(1), lambda: discarded.append(1))),
            lambda snapshot: fail(failing.pop()) if failing else self.prepare(snapshot),
        ]
        self.failureResultOf(self.change(), ServiceUnavailable)
        self.assertEqual((self.applied, discarded, self.config.snapshot.revision), ([], [1], 0))
        self.clock.advance(HEARTBEAT_INTERVAL)
        self.assertEqual((self.applied, discarded, self.config.snapshot.revision), ([1, 1], [1], 1))

    def test_a_commit_that_fails_keeps_no_other_from_being_made(self) -> None:
        """Half of a change would stay otherwise."""
        def broken() -> None:
            raise ValueError('broken')

        self.config.preparers = [lambda snapshot: succeed(PreparedConfigChange(broken)), self.prepare]
        self.failureResultOf(self.change(), ValueError)
        self.assertEqual(self.applied, [1])

    def test_what_a_commit_leaves_to_be_done_is_waited_for(self) -> None:
        """Before the change is said to be in force."""
        rest: Deferred[None] = Deferred()
        self.config.preparers = [lambda snapshot: succeed(PreparedConfigChange(lambda: rest))]
        change = self.change()
        self.assertEqual(self.config.snapshot.revision, 1)
        self.assertNoResult(change)
        rest.callback(None)
        self.successResultOf(change)

    def test_a_snapshot_that_is_older_than_the_code(self) -> None:
        """A version was made active after the snapshot was read: it is read again, so that what is in force here was
        the cluster's at one moment. That does not go on for ever."""
        def code(snapshot: Snapshot) -> Deferred[PreparedConfigChange]:
            if snapshot.revision >= deployed:
                return self.prepare(snapshot)
            self.store.revision += 1
            return fail(OutdatedSnapshot())

        self.config.preparers = [code]
        deployed = 3
        self.successResultOf(self.change())
        self.assertEqual((self.applied, self.config.snapshot.revision), ([3], 3))
        deployed = 100
        self.failureResultOf(self.change(), ServiceUnavailable)
        self.assertEqual(self.applied, [3])

    def test_an_absence_is_said_once(self) -> None:
        """Each reason is logged once, not every two seconds; the end of the outage only when everything can be read."""
        said: list[str] = []

        @implementer(ILogObserver)
        def heard(event: LogEvent) -> None:
            if event['log_namespace'] == LiveConfig._log.namespace:
                said.append(formatEvent(event))

        globalLogPublisher.addObserver(heard)
        self.addCleanup(globalLogPublisher.removeObserver, heard)
        self.store.revision, self.store.unread = 1, ServiceUnavailable(None, 'Locked')
        self.clock.pump([HEARTBEAT_INTERVAL] * 5)
        for why in ['Refused', 'Locked', 'Refused', *map(str, range(20))]:
            self.store.away = ServiceUnavailable(None, why)
            self.clock.advance(HEARTBEAT_INTERVAL)
        self.assertEqual([line.rpartition(': ')[2] for line in said], ['Locked', 'Refused', '0', '1', '2'])
        self.store.away = self.store.unread = None
        self.clock.pump([HEARTBEAT_INTERVAL] * 3)
        self.assertEqual(said[5:], ['The ODB is available again, this node is at revision 1'])

    def test_an_odb_restored_from_a_backup_is_read_anew(self) -> None:
        """A revision lower than ours means that what we know may never have been."""
        self.store.revision = 5
        self.clock.advance(HEARTBEAT_INTERVAL)
        self.store.revision = 2
        self.clock.advance(HEARTBEAT_INTERVAL)
        self.assertEqual(self.config.snapshot.revision, 2)
        self.assertEqual([stored.name for stored in self.config.snapshot], ['u1', 'u2'])

    def test_stopped_it_follows_no_more(self) -> None:
        """No beat, nothing applied."""
        self.successResultOf(self.config.stop())
        self.store.revision = 4
        self.clock.advance(10 * HEARTBEAT_INTERVAL)
        self.assertEqual((self.applied, self.store.beats), ([], []))


class LivingTests(SynchronousTestCase):
    def test_living_nodes_are_those_that_run_and_were_heard_of(self) -> None:
        """A clean stop and a long silence both end a node's life."""
        def row(name: str, status: str, seen: float) -> NodeRow:
            return NodeRow(id=1, name=name, up_status=status, seen_at=seen)
        rows = [
            row('well', 'running', 100),
            row('silent', 'running', 99 - NODE_TIMEOUT),
            row('down', 'clean-down', 100),
        ]
        self.assertEqual([node.name for node in live_nodes(rows, 100.5)], ['well'])
