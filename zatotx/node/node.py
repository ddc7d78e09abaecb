"""A node from its first breath to its last: what starts in which order, and how it drains.

Starting: take the configuration from the ODB, open the listeners (they answer 503), load the deployed services, then
serve. Stopping: not ready, listeners closed, what runs ends within the grace period, and only then the machinery.
"""

from __future__ import annotations

import os
from typing import Any

from attrs import define
from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from zatotx.model.errors import Conflict, StartError
from zatotx.node import gc_tuning
from zatotx.node.components import NodeComponents
from zatotx.node.listen_address import first_tcp
from zatotx.node.live_config import LiveConfig
from zatotx.node.service_rows import missing_service_rows
from zatotx.node.state import DRAINING, READY, STARTING, STOPPED, NodeState
from zatotx.node.thread_pools import stop_pools
from zatotx.node.two_phase_commit import commit_all, prepare_all
from zatotx.node.workers.control_pipe import ALONE, LINGER, WorkerSpec
from zatotx.schema.snapshot import Actor

_log = Logger()


@define(eq=False, slots=False)
class Node(Service):
    """A server: hosts services and the channels clients connect to. Built whole by zatotx.tap; knows the order of its
    parts, not their work."""

    parts: NodeComponents
    config: LiveConfig
    state: NodeState
    place: WorkerSpec = ALONE
    node_id: int = 0
    _starting: Deferred[None] | None = None

    def startService(self) -> Deferred[None]:
        """Fires when the node serves. Fails with StartError, one sentence, where it cannot."""
        super().startService()  # type: ignore[no-untyped-call]
        starting = self._starting = Deferred.fromCoroutine(self._start())
        return starting

    def stopService(self) -> Deferred[None]:
        """Drain and stop; fires when all is down. Harmless for a node that did not get far."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._starting is not None:
            self._starting.cancel()
        return Deferred.fromCoroutine(self._stop())

    def retire(self) -> Deferred[None]:
        """Another process has taken over: take no new clients, and let those that are here go with their next answer.
        Fires when all have gone, or have had their time to ask once more."""
        _log.info('{name} of cluster {cluster} hands over', **self._names())
        over: Deferred[None] = Deferred()
        late = self.parts.reactor.callLater(LINGER, over.callback, None)

        def empty(_: object) -> None:
            if late.active():
                late.cancel()
                over.callback(None)

        gatherResults([channel.retire() for channel in self.parts.channels.values()]).addCallback(empty)
        return over

    def reload(self) -> None:
        """Take over what may change while the node runs."""
        self.parts.reload()

    async def _start(self) -> None:
        parts = self.parts
        self._enter(STARTING)
        parts.logs.start()
        _log.info('Starting {name} of cluster {cluster}', **self._names())
        for pool in parts.pools:
            pool.start()
        for client in parts.redis:
            client.startService()
        if parts.company is not None:
            parts.company.start()
        await self._join()
        await self._configure()
        if not self.place.late:
            await self._listen()
        await parts.code.load()
        await parts.code.apply(self.config.snapshot)
        self.config.start()
        await self.config.sync()
        gc_tuning.tune_gc()
        parts.trimmer.start()
        parts.watchdog.start()
        self._enter(READY)
        if self.place.late:
            await self._listen()
        await parts.pickup.start()
        _log.info('{name} of cluster {cluster} is ready', **self._names())

    async def _join(self) -> None:
        """Be known to the cluster, and know its configuration."""
        parts, main = self.parts, self.parts.settings.main
        host, port = first_tcp(parts.settings.kinds)
        row = await parts.odb.register_node(main.name, host, port, os.getpid(), worker=self.place.seat)
        self.node_id = self.config.node_id = row.id
        await self.config.load()
        rows = missing_service_rows(parts.services.current, self.config.snapshot)
        if rows:
            try:
                await parts.odb.write(rows, Actor(main.name, 'start'))
            except Conflict:
                _log.debug('Another node wrote the rows of the internal services at the same time')
            await self.config.load()

    async def _configure(self) -> None:
        for finishing in commit_all(await prepare_all(self.parts.at_start, self.config.snapshot)):
            await finishing

    async def _listen(self) -> None:
        """Requests are answered 503 until the services are there. A worker that joins others who serve already comes to
        this last, so that no client meets a 503 for its sake."""
        for channel in self.parts.channels.values():
            await channel.start(self.parts.exchange)

    async def _stop(self) -> None:
        parts = self.parts
        self._enter(DRAINING)
        channels = list(parts.channels.values())
        for channel in channels:
            channel.drain()
        await _quietly(parts.pickup.stop(), 'The pickup directory')
        await gatherResults([_done(channel.stop(), 'A channel') for channel in channels])
        for outgoing in parts.outgoing:
            await _quietly(outgoing.stop(), 'Outgoing connections')
        self._enter(STOPPED)
        if parts.company is not None:
            await _quietly(parts.company.stop(), 'What the workers of this server share')
        parts.watchdog.stop()
        parts.trimmer.stop()
        await _quietly(self.config.stop(), 'The configuration')
        if self.node_id:
            await _quietly(parts.odb.node_down(self.node_id), 'The row of this node')
        for client in parts.redis:
            await _quietly(client.stopService(), 'Redis')
        await _quietly(parts.odb.close(), 'The ODB')
        await stop_pools(parts.reactor, parts.pools)
        _log.info('{name} of cluster {cluster} has stopped', **self._names())
        parts.logs.stop()
        parts.lock.release()

    def _enter(self, phase: str) -> None:
        self.state.phase = phase
        self.parts.pipeline.closed = self.state.why if phase == STARTING else ''

    def _names(self) -> dict[str, Any]:
        main, place = self.parts.settings.main, self.place
        name = f'Worker {place.seat} of {main.name}' if place.crewed else main.name
        return {'name': name, 'cluster': main.cluster}


def _done(stopping: Any, what: str) -> Deferred[None]:
    return Deferred.fromCoroutine(_quietly(stopping, what))


async def _quietly(stopping: Any, what: str) -> None:
    """Wait for a part to stop; one that cannot must not keep the others up."""
    try:
        if stopping is not None:
            await stopping
    except Exception as error:
        _log.warn('{what} did not stop well: {why}', what=what, why=str(error) or type(error).__name__)


__all__ = ['Node', 'StartError']
