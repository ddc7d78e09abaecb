"""The live configuration of a node: the snapshot that is in force, kept up to date with the ODB.

The ODB's revision is authoritative. Redis only announces that it has changed; lost announcements do no harm, because a
heartbeat reads the revision every two seconds and publishes which revision this node runs.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from attrs import Factory, define, field
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from zope.interface import implementer

from zatotx.interfaces.config import IConfig, IConfigStore, NodeRow, OutdatedSnapshot, Prepare
from zatotx.interfaces.redis_client import IPubSub
from zatotx.model.errors import ServiceUnavailable, Timeout
from zatotx.node.coalescing_lock import CoalescingLock
from zatotx.node.liveness import ALIVE, LivenessMonitor
from zatotx.node.outage_log import OutageLog
from zatotx.node.two_phase_commit import commit_all, prepare_all
from zatotx.schema.snapshot import Actor, Operation, Snapshot

BEAT = 2.0  # seconds
TOPIC = 'config'

_ATTEMPTS = 5  # at reading a snapshot that does not change meanwhile


def live_nodes(nodes: Sequence[NodeRow], now: float) -> list[NodeRow]:
    """Return the nodes that are alive, for callers that check only once: their status is `running`, and their last
    heartbeat is recent. `now` is unix time of a clock in sync with those of the nodes; repeated checks use
    LivenessMonitor."""
    return [node for node in nodes if node.up_status == 'running' and now - node.seen_at < ALIVE]


async def wait_until_applied(store: Any, revision: int, timeout: float, liveness: LivenessMonitor) -> list[str]:
    """Wait until all live nodes run the revision. Returns the names of those that did not within `timeout` seconds."""
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
    """Follows the configuration in the ODB. `preparers` build what a new snapshot changes, before all of it is
    committed at once; `verdicts` returns why this node refused each version of the deployed code, '' if it accepted it.
    """

    store: Any  # IConfigStore
    bus: Any  # IBus
    clock: IReactorTime
    preparers: Sequence[Prepare]
    verdicts: Callable[[], Mapping[int, str]]
    node_id: int = 0  # set when the node has registered
    snapshot: Snapshot = field(factory=Snapshot)
    newest: int = 0  # the ODB's revision when it was last read
    liveness: LivenessMonitor = field(
        init=False, default=Factory(lambda self: LivenessMonitor(self.clock), takes_self=True)
    )
    _lock: CoalescingLock = field(factory=CoalescingLock)
    _loop: LoopingCall | None = None
    _log = Logger()
    _outages: OutageLog = field(init=False, default=Factory(lambda self: OutageLog(self._log), takes_self=True))

    @property
    def unavailable_reason(self) -> str:
        """Why the last attempt to read the ODB failed; '' if it succeeded."""
        return self._outages.reason

    def start(self) -> None:
        """Start following the ODB."""
        self.bus.subscribe(TOPIC, self._announced)
        loop = self._loop = LoopingCall(lambda: self._log_outage(self._record_heartbeat()))
        loop.clock = self.clock
        loop.start(BEAT, now=False)

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
        self.bus.announce(TOPIC, str(revision)).addErrback(_log_unannounced)
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
            snapshot = current.apply_changes(changes)
            finishing_steps = commit_all(await prepare_all(self.preparers, snapshot))
            self.snapshot = snapshot
            for finishing in finishing_steps:
                await finishing

    async def _write_heartbeat(self) -> None:
        """Write the heartbeat and the revision that this node runs; also reads the ODB's revision."""
        self.newest = await self.store.beat(self.node_id, self.snapshot.revision, dict(self.verdicts()))

    def wait_until_applied(self, revision: int, timeout: float = 10.0) -> Deferred[list[str]]:
        return ensureDeferred(wait_until_applied(self.store, revision, timeout, self.liveness))

    def _announced(self, message: str) -> None:
        if not message.isdigit() or int(message) > self.snapshot.revision:
            self._log_outage(self.sync())

    def _log_outage(self, attempt: Coroutine[Any, Any, None]) -> Deferred[None]:
        return ensureDeferred(attempt).addErrback(self._outages.log_failure)

    async def _record_heartbeat(self) -> None:
        await self._write_heartbeat()
        level = self.newest == self.snapshot.revision
        if not level and not self._lock.is_held:
            # Not awaited: importing code may take long, and a node without heartbeats counts as dead.
            self._log_outage(self.sync())
        self.liveness.live_nodes(await self.store.nodes())  # recorded for callers that wait for live nodes
        if level:  # otherwise some tables may still be locked: only a complete read ends the outage
            self._outages.log_recovery(self.snapshot.revision)


def _log_unannounced(failure: Any) -> None:
    LiveConfig._log.debug('A change could not be announced; nodes find it with their next heartbeat: {why}',
                          why=failure.getErrorMessage())


__all__ = ['ALIVE', 'BEAT', 'TOPIC', 'IConfigStore', 'IPubSub', 'LiveConfig', 'live_nodes']
