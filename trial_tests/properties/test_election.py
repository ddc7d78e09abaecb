"""A model of the scheduler in a cluster: whole schedulers on clocks of their own, with a Redis and an ODB in memory,
while nodes are killed, frozen and cut off, clocks are set, and Redis loses its data. Checks that no tick is written
twice or lost, and that a node leads again in the end."""

from __future__ import annotations

from collections import Counter
from typing import Any

from attrs import define, field
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.pausable_clock import PausableClock
from trial_tests.support.properties import holds
from trial_tests.support.reactor import as_reactor
from zatotx.model.errors import ServiceUnavailable
from zatotx.redis.leases import LeaseStore
from zatotx.rules.leader_election import RIVAL_SILENCE
from zatotx.rules.scheduling.tick_schedule import MICROSECONDS
from zatotx.scheduler.scheduler import Scheduler
from zatotx.schema.scheduler_job import INTERVAL_BASED, SCHEDULER_JOB, SchedulerJob
from zatotx.schema.snapshot import Snapshot, StoredObject
from zatotx.testing.memory_node import MemoryPubSub
from zatotx.testing.memory_redis_components import EpochSequence, MemoryLeaseBackend
from zatotx.testing.memory_scheduler_stores import MemoryLeaderStore, MemoryTickWriter

START = 1_800_000_000.0  # unix time at which a model begins
STEP = 0.05
TAKEOVER = 9.0  # seconds within which another node leads
JOB = SchedulerJob(name='each-second', service='a.b', job_type=INTERVAL_BASED, seconds=1, misfire='all',
                   misfire_grace=3600)  # fmt: skip
SNAPSHOT = Snapshot(1, [StoredObject(1, SCHEDULER_JOB.key, JOB, 1, START + 0.5)])


@define(eq=False, repr=False)
class _Redis:
    """One Redis: leases, ticks, a clock."""

    world: _World
    leases: MemoryLeaseBackend = field(init=False)
    ticks: MemoryTickWriter = field(factory=MemoryTickWriter)

    def __attrs_post_init__(self) -> None:
        self.leases = MemoryLeaseBackend(self.world.time)

    def lose_data(self) -> None:
        self.leases.lose_data()
        self.ticks.wipe()


class _History:
    """Drops the runs."""

    def record(self, runs: Any) -> Deferred[None]:
        return succeed(None)


@define(eq=False, repr=False)
class _Node:
    """A process: it reaches `redis` and the ODB unless it is cut off."""

    world: _World
    name: str
    redis: _Redis
    offset: float = 0.0  # seconds by which its wall clock is ahead
    is_cut_off: bool = False
    clock: PausableClock = field(init=False)
    scheduler: Scheduler = field(init=False)

    def __attrs_post_init__(self) -> None:
        world = self.world
        self.clock = PausableClock(world.time)
        leaders: Any = _Reached(self, lambda: world.leaders)
        ticks: Any = _Reached(self, lambda: self.redis.ticks)
        history: Any = _History()
        self.scheduler = Scheduler(
            clock=as_reactor(self.clock), now=lambda: world.now() + self.offset, monotonic=world.time.seconds,
            cluster='c', node=self.name, has_service=lambda name: True, bus=MemoryPubSub(), history=history,
            leases=LeaseStore(as_reactor(self.clock), _Reached(self, lambda: self.redis.leases), world.epochs,
                              now=world.time.seconds),
            leaders=leaders, ticks=ticks,
            read_server_clock=lambda: fail(self.problem()) if self.is_cut_off else succeed(world.now()),
        )  # fmt: skip

    def start(self) -> None:
        Deferred.fromCoroutine(self.scheduler.prepare(SNAPSHOT)).addCallback(lambda prepared: prepared.commit())
        self.scheduler.start(1)

    def freeze(self, seconds: float) -> None:
        self.clock.until = self.world.time.seconds() + seconds

    def kill(self) -> None:
        self.freeze(1e9)
        self.is_cut_off = True

    @staticmethod
    def problem() -> ServiceUnavailable:
        return ServiceUnavailable(None, 'cut off')


class _Reached:
    """A store as a node reaches it, whose methods fail while the node is cut off."""

    def __init__(self, node: _Node, find: Any) -> None:
        self._node, self._find = node, find

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> Any:
            if self._node.is_cut_off:
                return fail(self._node.problem())
            return getattr(self._find(), name)(*args)

        return call


@define(eq=False, repr=False)
class _World:
    """A cluster of three nodes."""

    time: Clock = field(factory=Clock)
    epochs: EpochSequence = field(factory=EpochSequence)
    leaders: MemoryLeaderStore = field(init=False)
    redis: _Redis = field(init=False)
    nodes: list[_Node] = field(factory=list)
    killed: list[_Node] = field(factory=list)
    _epochs_seen: list[int] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.leaders = MemoryLeaderStore(self.now)
        self.redis = _Redis(self)
        for number in range(3):
            self.add(f'server{number}')

    def now(self) -> float:
        return START + self.time.seconds()

    def add(self, name: str) -> None:
        self.nodes.append(_Node(self, name, self.redis))
        self.nodes[-1].start()

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP)):
            self.time.advance(STEP)
            self._epochs_seen.append(self.leaders.record.epoch)

    def leader(self) -> _Node | None:
        """The node that may fire, if there is one; two with the newest epoch are never there."""
        name = self.leaders.record.node
        leading = [node for node in self.nodes if node.scheduler._leadership.is_leader]
        newest = [node for node in leading
                  if node.scheduler._leadership.state.epoch == self.leaders.record.epoch]  # fmt: skip
        assert len(newest) <= 1, newest
        return newest[0] if newest and newest[0].name == name else None

    def heal(self) -> None:
        """Everything works again, for long enough."""
        for node in self.nodes:
            node.offset, node.is_cut_off, node.redis = 0.0, False, self.redis
            node.clock.until = 0.0
        self.leaders.problem = None
        self.run(2 * RIVAL_SILENCE)

    def scheduled(self) -> Counter[int]:
        """How often each tick was written, by the second."""
        return Counter(int(message.headers[b'x-zato-job-tick']) // MICROSECONDS for message in self.redis.ticks.added)

    def require_growing_epochs(self) -> None:
        assert self._epochs_seen == sorted(self._epochs_seen)


EVENTS = st.lists(
    st.tuples(st.sampled_from(('wait', 'freeze', 'kill', 'cut off', 'connect', 'clock', 'odb', 'stop')),
              st.integers(0, 2), st.floats(0.0, 9.0)),
    min_size=1, max_size=8,
)  # fmt: skip


class ElectionModel(SynchronousTestCase):
    """What holds whatever happens."""

    @holds(40, events=EVENTS)
    def test_each_tick_once(self, events: list[tuple[str, int, float]]) -> None:
        """While Redis keeps its data each tick is written exactly once, and with its own time."""
        world = _World()
        world.run(3)
        for event, number, seconds in events:
            self.happen(world, event, number, seconds)
            world.run(seconds)
            world.leader()
        world.heal()
        self.require_all(world, most=1)
        self.assertIsNotNone(world.leader())
        world.require_growing_epochs()

    @holds(25, events=EVENTS, at=st.integers(0, 7))
    def test_wiped(self, events: list[tuple[str, int, float]], at: int) -> None:
        """After Redis lost its data, no tick is lost; some are written twice, with the same cid."""
        world = _World()
        world.run(3)
        for position, (event, number, seconds) in enumerate(events):
            if position == at:
                world.redis.lose_data()
            self.happen(world, event, number, seconds)
            world.run(seconds)
            world.leader()
        world.heal()
        self.require_all(world, most=2)
        messages = world.redis.ticks.added
        self.assertEqual(len({message.cid for message in messages}), len(world.scheduled()))
        world.require_growing_epochs()

    @staticmethod
    def happen(world: _World, event: str, number: int, seconds: float) -> None:
        """Let something happen to a node."""
        node = world.nodes[number]
        if event == 'freeze':
            node.freeze(seconds)
        elif event == 'kill':
            node.kill()
            world.killed.append(world.nodes.pop(number))
            world.add(node.name)
        elif event == 'cut off':
            node.is_cut_off = True
        elif event == 'connect':
            node.is_cut_off = False
        elif event == 'clock':
            node.offset = (seconds - 4.5) * 800  # an hour in either direction
        elif event == 'odb':
            world.leaders.problem = None if world.leaders.problem else ServiceUnavailable(None, 'The ODB is away')
        elif event == 'stop':
            node.scheduler.resign()
            node.start()

    def require_all(self, world: _World, *, most: int) -> None:
        """Each second since the job was created was written, at most so often."""
        counts = world.scheduled()
        last = int(world.now()) - 2
        self.assertEqual([second for second in range(int(START) + 2, last) if not counts[second]], [])
        self.assertLessEqual(max(counts.values()), most)


class ElectionTests(SynchronousTestCase):
    """Single events, with the times that they take."""

    def setUp(self) -> None:
        self.world = _World()
        self.world.run(3)
        leader = self.world.leader()
        assert leader is not None
        self.leader = leader

    def until(self, condition: Any, within: float) -> float:
        """The seconds until that holds."""
        began = self.world.time.seconds()
        while not condition():
            self.world.run(STEP)
            self.assertLess(self.world.time.seconds() - began, within)
        return self.world.time.seconds() - began

    def has_other_leader(self) -> bool:
        found = self.world.leader()
        return found is not None and found is not self.leader

    def test_killed(self) -> None:
        """After the death of the leader another node leads within the time of its lease and a moment."""
        self.leader.kill()
        self.assertGreater(self.until(self.has_other_leader, TAKEOVER), 3)

    def test_frozen_for_long(self) -> None:
        """A leader that is frozen for half a minute, and continues, writes nothing any more and takes part in the
        election again; each tick was written once."""
        self.leader.freeze(30)
        self.assertLess(self.until(self.has_other_leader, TAKEOVER), TAKEOVER)
        successor = self.world.leader()
        self.world.run(40)
        self.assertFalse(self.leader.scheduler._leadership.is_leader)
        self.assertIs(self.world.leader(), successor)
        self.assertEqual(set(self.world.scheduled().values()), {1})
        seconds = sorted(self.world.scheduled())
        self.assertEqual(seconds, list(range(seconds[0], seconds[-1] + 1)))
        assert successor is not None
        successor.scheduler.resign()
        for node in self.world.nodes:
            if node is not self.leader:
                node.kill()
        self.until(lambda: self.world.leader() is self.leader, TAKEOVER + 5)

    def test_connectors(self) -> None:
        """A node that only runs jobs never leads."""
        for node in self.world.nodes:
            if node is not self.leader:
                node.kill()
        connector = _Node(self.world, 'connector1', self.world.redis)
        connector.scheduler.can_lead = False
        self.world.nodes.append(connector)
        connector.start()
        self.leader.kill()
        self.world.run(20)
        self.assertFalse(connector.scheduler._leadership.is_leader)

    def test_stopped_while_resigning(self) -> None:
        """A node that is stopped while it resigns, from an ODB that does not answer, ends within the time of the
        steps."""
        self.world.leaders.is_frozen = True
        self.leader.offset = 3600.0
        self.until(lambda: not self.leader.scheduler._leadership.is_leader, 3)
        stopped = self.leader.scheduler.resign()
        self.world.run(4.5)
        self.successResultOf(stopped)
        self.assertFalse(self.leader.scheduler._leadership.is_leader)

    def test_stopped(self) -> None:
        """A leader that stops is followed within a second."""
        self.leader.scheduler.resign()
        self.until(self.has_other_leader, 1.1)

    def test_clock(self) -> None:
        """A leader whose clock is set by an hour either way resigns, says why, and does not lead before its clock is
        right; a clock that is a second off does not matter."""
        for offset in (-3600.0, 3600.0):
            leader = self.leader = self.world.leader() or self.leader
            leader.offset = 1.0
            self.world.run(5)
            self.assertIs(self.world.leader(), leader)
            leader.offset = offset
            self.until(self.has_other_leader, 3.5)
            self.assertIn(f'{offset:+.1f} s off', next(iter(leader.scheduler.findings())))
        self.assertEqual(set(self.world.scheduled().values()), {1})
        for node in self.world.nodes:
            if node is not self.leader:
                node.kill()
        self.world.run(20)
        self.assertFalse(self.leader.scheduler._leadership.is_leader)
        self.leader.offset = 0.0
        self.until(lambda: self.world.leader() is self.leader, 5)

    def test_divided_redis(self) -> None:
        """Two nodes reach another Redis than the leader: the newer leader wins in the ODB, the former one resigns
        within the interval of its confirmations, and leads again only after the newer one has been silent."""
        other_redis = _Redis(self.world)
        for node in self.world.nodes:
            if node is not self.leader:
                node.redis = other_redis
        self.until(self.has_other_leader, 3)
        self.until(lambda: not self.leader.scheduler._leadership.is_leader, 5.5)
        self.world.run(30)
        self.assertTrue(self.has_other_leader())
        self.assertFalse(self.leader.scheduler._leadership.is_leader)
        for node in self.world.nodes:
            if node is not self.leader:
                node.kill()
        self.assertGreater(self.until(lambda: self.world.leader() is self.leader, 2 * RIVAL_SILENCE), 5)

    def test_restored_odb(self) -> None:
        """An ODB that was restored from a backup, and knows older epochs only, is brought up to date."""
        self.world.leaders.record = type(self.world.leaders.record)()
        self.leader.kill()
        self.world.redis.ticks.epoch = 4
        self.until(self.has_other_leader, 20)
        count = len(self.world.redis.ticks.added)
        self.until(lambda: len(self.world.redis.ticks.added) > count + 3, 10)

    def test_odb_outage(self) -> None:
        """While the ODB is away the leader stays in office, and writes ticks."""
        self.world.leaders.problem = ServiceUnavailable(None, 'The ODB is away')
        count = len(self.world.redis.ticks.added)
        self.world.run(20)
        self.assertTrue(self.leader.scheduler._leadership.is_leader)
        self.assertGreater(len(self.world.redis.ticks.added), count + 18)

    def test_odb_outage_and_death(self) -> None:
        """If the leader dies while the ODB is away, nobody leads until the ODB is back; then no tick is missing."""
        self.world.leaders.problem = ServiceUnavailable(None, 'The ODB is away')
        self.world.run(3)
        self.leader.kill()
        self.world.run(15)
        self.assertFalse(any(node.scheduler._leadership.is_leader for node in self.world.nodes
                             if node is not self.leader))  # fmt: skip
        self.world.leaders.problem = None
        self.until(self.has_other_leader, 10)
        self.world.run(3)
        seconds = sorted(self.world.scheduled())
        self.assertEqual(seconds, list(range(seconds[0], seconds[-1] + 1)))

