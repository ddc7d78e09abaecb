"""A node's live configuration: what is in force here, kept level with the ODB.

The ODB's revision is the truth. Redis only says «look now»; a missed word is made good by the beat, which asks for the
revision every two seconds and tells the others what this node runs.
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
from zatotx.interfaces.redis_client import IBus
from zatotx.model.errors import ServiceUnavailable, Timeout
from zatotx.node.coalescing_lock import CoalescingLock
from zatotx.node.heartbeat import ALIVE, LivenessMonitor
from zatotx.node.outage_log import OutageLog
from zatotx.node.two_phase_commit import commit_all, prepare_all
from zatotx.schema.snapshot import Actor, Operation, Snapshot

BEAT = 2.0  # seconds
TOPIC = 'config'

_ATTEMPTS = 5  # at a snapshot that is level with the code


def live_nodes(nodes: Sequence[NodeRow], now: float) -> list[NodeRow]:
    """The nodes that are up, for those who look once: running by their own word, and heard of lately. `now` is unix
    time, of a machine whose clock goes as the nodes' do; who looks more often has a Pulse."""
    return [node for node in nodes if node.up_status == 'running' and now - node.seen_at < ALIVE]


async def reached_everywhere(store: Any, revision: int, timeout: float, pulse: LivenessMonitor) -> list[str]:
    """Wait until every living node runs the revision; the names of those that did not within `timeout` seconds."""
    clock = pulse.clock
    end = clock.seconds() + timeout
    pause = 0.02
    while True:
        nodes = pulse.living(await store.nodes())
        behind = [node.name for node in nodes if node.applied_revision < revision]
        if not behind or clock.seconds() >= end:
            return behind
        await deferLater(clock, pause)
        pause = min(pause * 1.5, 0.25)


@implementer(IConfig)
@define(eq=False)
class LiveConfig:
    """Follows the ODB. `preparers` build all that a new snapshot changes, and then it is brought into force at once;
    `verdicts` says how each version of the deployed code was judged here."""

    store: Any  # IConfigStore
    bus: Any  # IBus
    clock: IReactorTime
    preparers: Sequence[Prepare]
    verdicts: Callable[[], Mapping[int, str]]
    node_id: int = 0  # known once the node has joined
    snapshot: Snapshot = field(factory=Snapshot)
    newest: int = 0  # the ODB's revision when it was asked last
    pulse: LivenessMonitor = field(
        init=False, default=Factory(lambda self: LivenessMonitor(self.clock), takes_self=True)
    )
    _turns: CoalescingLock = field(factory=CoalescingLock)
    _loop: LoopingCall | None = None
    _log = Logger()
    _absence: OutageLog = field(init=False, default=Factory(lambda self: OutageLog(self._log), takes_self=True))

    @property
    def away(self) -> str:
        """Why the ODB could not be followed last time, '' = it could."""
        return self._absence.why

    def start(self) -> None:
        """Follow from now on."""
        self.bus.subscribe(TOPIC, self._heard)
        loop = self._loop = LoopingCall(lambda: self._following(self._look()))
        loop.clock = self.clock
        loop.start(BEAT, now=False)

    def stop(self) -> Deferred[None]:
        """Stop following; fires when what is under way is done."""
        if self._loop is not None and self._loop.running:
            self._loop.stop()
        return self._turns.over()

    def change(self, operations: Sequence[Operation], actor: Actor) -> Deferred[int]:
        return ensureDeferred(self._change(operations, actor))

    async def _change(self, operations: Sequence[Operation], actor: Actor) -> int:
        revision: int = await self.store.write(operations, actor)
        try:
            await self._reach(revision)
        except (ServiceUnavailable, Timeout) as error:
            raise ServiceUnavailable(
                None,
                f'The change is made, as revision {revision}, but not in force yet: nodes follow when the ODB answers '
                f'({error.msg})',
            ) from error
        self._following(self._tell())  # not waited for: it is in force, whether the row of this node says so or not
        return revision

    async def bring(self, revision: int) -> None:
        """Have a revision in force here, said in this node's row, and tell the other nodes to look now. Raises what the
        ODB raises."""
        await self._reach(revision)
        await self._tell()

    async def _reach(self, revision: int) -> None:
        """The other nodes find out by themselves where the word is lost."""
        self.bus.announce(TOPIC, str(revision)).addErrback(_unannounced)
        await self._turns.take(self._take)

    async def load(self) -> None:
        """At the start of a node: take the configuration of the ODB, for others to bring into force."""
        self.snapshot = self.snapshot.evolve(await self.store.changes(self.snapshot.revision))

    async def sync(self) -> None:
        """Bring this node level with the ODB, and say so in its row. Raises what the ODB raises."""
        await self._turns.take(self._take)
        await self._tell()
        self._absence.ends(self.snapshot.revision)

    async def _take(self) -> None:
        for _ in range(_ATTEMPTS):
            try:
                await self._take_once()
                return
            except OutdatedSnapshot:  # changed meanwhile: what is in force must have been the cluster's at one moment
                continue
        raise ServiceUnavailable(None, 'The configuration of the cluster changes faster than it can be read')

    async def _take_once(self) -> None:
        before = self.snapshot
        changes = await self.store.changes(before.revision)
        self.newest = changes.revision
        if changes.revision < before.revision:  # the ODB was restored from a backup: nothing known here is sure
            before, changes = Snapshot(), await self.store.changes(0)
        if changes.revision != self.snapshot.revision:
            snapshot = before.evolve(changes)
            after = commit_all(await prepare_all(self.preparers, snapshot))
            self.snapshot = snapshot
            for finishing in after:
                await finishing

    async def _tell(self) -> None:
        """A sign of life, and what this node runs; gives the ODB's revision too."""
        self.newest = await self.store.beat(self.node_id, self.snapshot.revision, dict(self.verdicts()))

    def everywhere(self, revision: int, timeout: float = 10.0) -> Deferred[list[str]]:
        return ensureDeferred(reached_everywhere(self.store, revision, timeout, self.pulse))

    def _heard(self, message: str) -> None:
        if not message.isdigit() or int(message) > self.snapshot.revision:
            self._following(self.sync())

    def _following(self, attempt: Coroutine[Any, Any, None]) -> Deferred[None]:
        return ensureDeferred(attempt).addErrback(self._absence.goes_on)

    async def _look(self) -> None:
        await self._tell()
        level = self.newest == self.snapshot.revision
        if not level and not self._turns.taken:
            # Not waited for: code may take long to import, and a node that gives no beat counts as gone.
            self._following(self.sync())
        self.pulse.living(await self.store.nodes())  # so that it is known who is up when somebody has to wait for them
        if level:  # else a part of the ODB may answer while another is locked: it is back when all of it could be read
            self._absence.ends(self.snapshot.revision)


def _unannounced(failure: Any) -> None:
    LiveConfig._log.debug('A change was not announced, nodes find it by its revision: {why}',
                          why=failure.getErrorMessage())


__all__ = ['ALIVE', 'BEAT', 'TOPIC', 'IBus', 'IConfigStore', 'LiveConfig', 'live_nodes']
