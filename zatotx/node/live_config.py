"""The active configuration of a node, which is a snapshot that follows the configuration in the ODB.

The ODB's revision is authoritative. Redis only announces that it has changed; lost announcements do no harm, because a
heartbeat reads the revision every two seconds and publishes which revision this node runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from attrs import Factory, define, field
from twisted.internet.defer import CancelledError, Deferred, DeferredLock, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from zope.interface import implementer

from zatotx.interfaces.config import (
    IConfig,
    IConfigStore,
    NodeLoad,
    NodeRow,
    OutdatedSnapshot,
    Prepare,
    PreparedConfigChange,
)
from zatotx.interfaces.redis import IPubSub
from zatotx.model.errors import ServiceUnavailable, Timeout
from zatotx.rules.resilience.process_supervision import NODE_TIMEOUT
from zatotx.schema.snapshot import Actor, ChangeSet, Operation, Snapshot, SnapshotUpdate

__all__ = [
    'HEARTBEAT_INTERVAL',
    'MAX_REASONS',
    'NODE_TIMEOUT',
    'TOPIC',
    'CoalescingLock',
    'IConfigStore',
    'IPubSub',
    'LiveConfig',
    'LivenessMonitor',
    'OdbOutageLog',
    'commit_all',
    'live_nodes',
    'prepare_all',
    'wait_until_applied',
]


@define(eq=False)
class CoalescingLock:
    """Allows one attempt at a time, and shares its result. An attempt that starts after a caller began to wait also
    serves that caller. If the attempt fails because the ODB is unavailable, all waiting callers fail, because otherwise
    each of them would wait for its own timeout."""

    _lock: DeferredLock = field(factory=DeferredLock)
    _started_count: int = 0
    _failed_count: int = 0
    _last_error: Exception = field(factory=lambda: ServiceUnavailable(None, 'The ODB is unavailable'))

    @property
    def is_held(self) -> bool:
        """Whether an attempt is in progress."""
        return bool(self._lock.locked)

    async def run(self, attempt: Callable[[], Awaitable[None]]) -> None:
        """Run the attempt under the lock, unless one that started meanwhile serves this caller. Raises what the attempt
        raises."""
        started, failed_before = self._started_count, self._failed_count
        await self._lock.run(lambda: ensureDeferred(self._attempt(attempt, started, failed_before)))

    def wait_until_idle(self) -> Deferred[None]:
        """Return a Deferred that fires when the attempt in progress and all that wait now have finished."""
        done: Deferred[None] = self._lock.run(lambda: None)
        return done

    async def _attempt(self, attempt: Callable[[], Awaitable[None]], started: int, failed_before: int) -> None:
        if self._failed_count != failed_before:
            raise self._last_error
        if self._started_count != started:
            return
        self._started_count += 1
        try:
            await attempt()
        except (ServiceUnavailable, Timeout) as error:
            self._failed_count, self._last_error = self._failed_count + 1, error
            raise


MAX_REASONS = 5  # logged per outage at most: some databases report a new reason each time


@define(eq=False)
class OdbOutageLog:
    """Logs the reasons of an ODB outage. Each reason is logged once until the ODB is available again, instead of every
    two seconds."""

    log: Logger
    reason: str = ''  # the last reason; '' = the ODB is available
    _logged: set[str] = field(factory=set, init=False)

    def log_failure(self, failure: Any) -> None:
        """Record that an attempt to read the ODB failed."""
        if failure.check(CancelledError):
            return
        self.reason = failure.getErrorMessage()
        if self.reason not in self._logged and len(self._logged) < MAX_REASONS:
            self._logged.add(self.reason)
            self.log.warn('The ODB is unavailable, the current configuration stays in force: {why}', why=self.reason)

    def log_recovery(self, revision: int) -> None:
        """Record that the ODB is available and that this node runs its revision."""
        if self.reason:
            self.log.info('The ODB is available again, this node is at revision {revision}', revision=revision)
        self.reason = ''
        self._logged.clear()


async def prepare_all(preparers: Sequence[Prepare], snapshot: Snapshot) -> list[PreparedConfigChange]:
    """Return the prepared changes of all `preparers`, in order. If a preparer raises an exception, the changes that
    were already prepared are discarded, the exception is re-raised, and the current configuration stays active."""
    prepared: list[PreparedConfigChange] = []
    try:
        for prepare in preparers:
            prepared.append(await prepare(snapshot))
    except BaseException:
        for part in prepared:
            part.discard()
        raise
    return prepared


def commit_all(prepared: Sequence[PreparedConfigChange]) -> list[Awaitable[None]]:
    """Commit the prepared changes. The function awaits nothing between the commits, so that no request is processed by
    a mix of old and new components. If a commit fails, the other changes are committed nevertheless, and the error is
    raised at the end. Returns awaitables that complete the changes."""
    finishing_steps: list[Awaitable[None]] = []
    first_error: Exception | None = None
    for part in prepared:
        try:
            finishing = part.commit()
        except Exception as error:
            first_error = first_error or error
            continue
        if finishing is not None:
            finishing_steps.append(finishing)
    if first_error is not None:
        raise first_error
    return finishing_steps


# Determines which nodes of the cluster are alive, using this node's own clock only.
#
# At each heartbeat a node writes its current time into its row. Times of different machines must not be compared,
# because one clock may be an hour off or be set while it runs. A node is alive while its row changes; when it last
# changed is measured here, on a monotonic clock.


@define(eq=False)
class LivenessMonitor:
    """Tracks when each node's row last changed. A node counts as alive until its row has been unchanged for
    NODE_TIMEOUT seconds. `clock` is the reactor, whose time is monotonic."""

    clock: IReactorTime
    _last_changes: dict[int, tuple[float, float]] = field(factory=dict, init=False)  # id -> (seen_at, local time)

    def live_nodes(self, nodes: Sequence[NodeRow]) -> list[NodeRow]:
        """Return the nodes that are alive: their status is `running`, and their heartbeat changed recently. `nodes` are
        all nodes of the cluster, as just read from the ODB."""
        now = self.clock.seconds()
        before, self._last_changes = self._last_changes, {}
        for node in nodes:
            seen_at, changed_at = before.get(node.id, (None, now))
            self._last_changes[node.id] = (node.seen_at, changed_at if seen_at == node.seen_at else now)
        changes = self._last_changes
        return [node for node in nodes if node.up_status == 'running' and now - changes[node.id][1] < NODE_TIMEOUT]


HEARTBEAT_INTERVAL = 2.0  # seconds
TOPIC = 'config'

CHANGES_PER_STEP = 5000  # applied to the snapshot before other events are handled: 5 ms
LARGE_CHANGE = 10_000  # objects
_ATTEMPTS = 5  # at reading a snapshot that does not change meanwhile


def live_nodes(nodes: Sequence[NodeRow], now: float) -> list[NodeRow]:
    """Return the nodes whose status is `running` and whose last heartbeat is recent, for callers that check only
    once. `now` is unix time of a clock that is synchronized with the nodes' clocks; for repeated checks, use
    LivenessMonitor."""
    return [node for node in nodes if node.up_status == 'running' and now - node.seen_at < NODE_TIMEOUT]


async def wait_until_applied(
    store: IConfigStore, revision: int, timeout: float, liveness: LivenessMonitor
) -> list[str]:
    """Wait until all live nodes have applied the revision. Returns the names of the nodes that did not apply it within
    `timeout` seconds."""
    clock = liveness.clock
    deadline = clock.seconds() + timeout
    pause = 0.02
    while True:
        nodes = liveness.live_nodes(await store.nodes())
        behind = [node.name for node in nodes if node.applied_revision < revision]
        if not behind or clock.seconds() >= deadline:
            return behind
        await deferLater(clock, pause)
        pause = min(pause * 1.5, 0.25)


@implementer(IConfig)
@define(eq=False)
class LiveConfig:
    """Implements IConfig by following the configuration in the ODB. `preparers` build the changes of a new snapshot
    before all changes are committed together. `verdicts` returns the reason why this node rejected a version of the
    deployed code, or '' if the node accepted it, for each version.
    """

    store: IConfigStore
    bus: IPubSub
    clock: IReactorTime
    preparers: Sequence[Prepare]
    verdicts: Callable[[], Mapping[int, str]]
    node_id: int = 0  # set when the node has registered
    measure_load: Callable[[], NodeLoad] = NodeLoad
    on_large_change: Callable[[], None] = lambda: None  # called when LARGE_CHANGE objects or more have changed
    snapshot: Snapshot = field(factory=Snapshot)
    newest: int = 0  # the ODB's revision when it was last read
    liveness: LivenessMonitor = field(
        init=False, default=Factory(lambda self: LivenessMonitor(self.clock), takes_self=True)
    )
    _lock: CoalescingLock = field(factory=CoalescingLock)
    _followers: list[Callable[[Sequence[NodeRow] | None], None]] = field(factory=list)
    _loop: LoopingCall | None = None
    _log = Logger()
    _outages: OdbOutageLog = field(init=False, default=Factory(lambda self: OdbOutageLog(self._log), takes_self=True))

    @property
    def unavailable_reason(self) -> str:
        """Why the last attempt to read the ODB failed; '' if it succeeded."""
        return self._outages.reason

    def follow_heartbeats(self, follower: Callable[[Sequence[NodeRow] | None], None]) -> None:
        """Call `follower` after each heartbeat of this node with the rows of all nodes, with None after one that
        failed."""
        self._followers.append(follower)

    def start(self) -> None:
        """Start following the ODB."""
        self.bus.subscribe(TOPIC, self._announced)
        loop = self._loop = LoopingCall(lambda: self._log_outage(self._record_heartbeat()))
        loop.clock = self.clock
        loop.start(HEARTBEAT_INTERVAL, now=False)

    def stop(self) -> Deferred[None]:
        """Stop following the ODB; the Deferred fires when the attempt in progress has finished."""
        if self._loop is not None and self._loop.running:
            self._loop.stop()
        return self._lock.wait_until_idle()

    def change(self, operations: Sequence[Operation], actor: Actor) -> Deferred[int]:
        return ensureDeferred(self._change(operations, actor))

    async def _change(self, operations: Sequence[Operation], actor: Actor) -> int:
        revision: int = await self.store.write(operations, actor)
        try:
            await self._reach(revision)
        except (ServiceUnavailable, Timeout) as error:
            raise ServiceUnavailable(
                None,
                f'The change is stored as revision {revision}, but not in force yet: nodes apply it when the ODB is '
                f'available again ({error.msg})',
            ) from error
        self._log_outage(self._write_heartbeat())  # not awaited: the change is in force without it
        return revision

    async def apply_and_announce(self, revision: int) -> None:
        """Apply a revision on this node, store that in its row, and announce the revision to the other nodes. Raises
        what the ODB raises."""
        await self._reach(revision)
        await self._write_heartbeat()

    async def _reach(self, revision: int) -> None:
        """Announce a revision and apply it here. Nodes that miss the announcement find the revision with their next
        heartbeat."""
        self.bus.publish(TOPIC, str(revision)).addErrback(_log_unannounced)
        await self._lock.run(self._apply_newest)

    async def load(self) -> None:
        """Read the configuration from the ODB when the node starts; the caller applies it."""
        self.snapshot = self.snapshot.apply_changes(await self.store.changes(self.snapshot.revision))

    async def sync(self) -> None:
        """Apply the ODB's current revision on this node and store that in its row. Raises what the ODB raises."""
        await self._lock.run(self._apply_newest)
        await self._write_heartbeat()
        self._outages.log_recovery(self.snapshot.revision)

    async def _apply_newest(self) -> None:
        for _ in range(_ATTEMPTS):
            try:
                await self._apply_once()
                return
            except OutdatedSnapshot:  # it changed meanwhile; a snapshot must be consistent
                continue
        raise ServiceUnavailable(None, 'The configuration of the cluster changes faster than it can be read')

    async def _apply_once(self) -> None:
        current = self.snapshot
        changes = await self.store.changes(current.revision)
        self.newest = changes.revision
        if changes.revision < current.revision:  # the ODB was restored from a backup: read everything again
            current, changes = Snapshot(), await self.store.changes(0)
        if changes.revision != self.snapshot.revision:
            snapshot = await self._next_snapshot(current, changes)
            finishing_steps = commit_all(await prepare_all(self.preparers, snapshot))
            self.snapshot = snapshot
            if len(changes.changed) >= LARGE_CHANGE:
                self.on_large_change()
            for finishing in finishing_steps:
                await finishing

    async def _next_snapshot(self, current: Snapshot, changes: ChangeSet) -> Snapshot:
        """Build the snapshot after some changes, in steps between which the reactor handles other events."""
        update = SnapshotUpdate(current, changes)
        while update.advance(CHANGES_PER_STEP):
            await deferLater(self.clock, 0)
        return update.finish()

    async def _write_heartbeat(self) -> None:
        """Write the heartbeat and the revision that this node runs; also reads the ODB's revision."""
        self.newest = await self.store.record_heartbeat(
            self.node_id, self.snapshot.revision, dict(self.verdicts()), self.measure_load()
        )

    def wait_until_applied(self, revision: int, timeout: float = 10.0) -> Deferred[list[str]]:
        return ensureDeferred(wait_until_applied(self.store, revision, timeout, self.liveness))

    def _announced(self, message: str) -> None:
        if not message.isdigit() or int(message) > self.snapshot.revision:
            self._log_outage(self.sync())

    def _log_outage(self, attempt: Coroutine[Any, Any, None]) -> Deferred[None]:
        return ensureDeferred(attempt).addErrback(self._outages.log_failure)

    async def _record_heartbeat(self) -> None:
        rows: Sequence[NodeRow] | None = None
        try:
            rows = await self._exchange_heartbeats()
        finally:
            for follower in self._followers:
                follower(rows)

    async def _exchange_heartbeats(self) -> Sequence[NodeRow]:
        """Write the heartbeat of this node and read those of all nodes."""
        await self._write_heartbeat()
        level = self.newest == self.snapshot.revision
        if not level and not self._lock.is_held:
            # Not awaited: importing code may take long, and a node without heartbeats counts as dead.
            self._log_outage(self.sync())
        rows: Sequence[NodeRow] = await self.store.nodes()
        self.liveness.live_nodes(rows)  # recorded for callers that wait for live nodes
        if level:  # otherwise some tables may still be locked: only a complete read ends the outage
            self._outages.log_recovery(self.snapshot.revision)
        return rows


def _log_unannounced(failure: Any) -> None:
    LiveConfig._log.debug('A change could not be announced; nodes find it with their next heartbeat: {why}',
                          why=failure.getErrorMessage())
