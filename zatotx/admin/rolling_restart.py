"""Restarts nodes one after another. Before the next node is restarted, the previous node must run again, and receive
requests from the load balancer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from zatotx.admin.cluster_api import ApiError, Caller, IClusterApi

TIMEOUT = 120.0  # seconds until a node must run again
POLL_INTERVAL = 1.0  # seconds
PROBES = 4.0  # seconds in which a load balancer notices that a server is ready
WAITING, RESTARTING, DONE, FAILED, SKIPPED = 'waiting', 'restarting', 'restarted', 'failed', 'not restarted'

IsBalanced = Callable[[str], Awaitable[bool]]  # called with the address of a node


@define
class Step:
    """The restart of one node within a rolling restart."""

    name: str
    state: str = WAITING
    reason: str = ''  # why it failed


@define(kw_only=True)
class RollingRestart:
    """The rolling restart of this web admin, if there is one. It stops at the first node that does not run again,
    and the remaining nodes are not restarted. If the web admin itself ends, the remaining nodes are not restarted
    either."""

    api: IClusterApi
    clock: IReactorTime
    steps: Sequence[Step] = ()
    started_by: str = ''
    is_running: bool = field(default=False, init=False)

    _log = Logger()

    def start(self, names: Sequence[str], caller: Caller, username: str, is_balanced: IsBalanced | None) -> None:
        """Begin, unless one is running. Raises ApiError."""
        if self.is_running:
            raise ApiError(409, [f'A rolling restart, begun by {self.started_by}, is running already'])
        self.steps = [Step(name) for name in names]
        self.started_by, self.is_running = username, True
        Deferred.fromCoroutine(self._run(caller, is_balanced))

    async def _run(self, caller: Caller, is_balanced: IsBalanced | None) -> None:
        try:
            for step in self.steps:
                step.state = RESTARTING
                await self._restart(step, caller, is_balanced)
                step.state = DONE
        except ApiError as error:
            step.state, step.reason = FAILED, str(error)
        except Exception as error:
            self._log.failure('A rolling restart failed')
            step.state, step.reason = FAILED, str(error) or type(error).__name__
        finally:
            self.is_running = False
            for each in self.steps:
                each.state = SKIPPED if each.state == WAITING else each.state

    async def _restart(self, step: Step, caller: Caller, is_balanced: IsBalanced | None) -> None:
        row = await self._find(step.name, caller)
        if row is None or row['status'] is None:
            raise ApiError(409, [f'{step.name} does not run'])
        await self.api.call('zato.server.restart', {'id': row['id']}, caller)
        end = self.clock.seconds() + TIMEOUT
        while not await self._runs_again(step.name, row['status']['started'], caller):
            await self._wait(end, f'{step.name} does not run again after {TIMEOUT:g} s: see its logs/restart.log')
        if row['status']['role'] != 'server':
            return
        if is_balanced is None:
            await deferLater(self.clock, PROBES, lambda: None)
            return
        while not await is_balanced(row['address']):
            await self._wait(end, f'The load balancer sends no requests to {step.name} {TIMEOUT:g} s after its restart')

    async def _wait(self, end: float, text: str) -> None:
        if self.clock.seconds() > end:
            raise ApiError(504, [text])
        await deferLater(self.clock, POLL_INTERVAL, lambda: None)

    async def _runs_again(self, name: str, started: float, caller: Caller) -> bool:
        try:
            row = await self._find(name, caller)
        except ApiError as error:
            if error.status in (401, 403):
                raise
            return False  # the server that would answer is the one that restarts
        status = None if row is None else row['status']
        return status is not None and row is not None and status['started'] != started and row['state'] == 'running'

    async def _find(self, name: str, caller: Caller) -> Mapping[str, Any] | None:
        rows = await self.api.call('zato.server.get-status', {}, caller)
        return next((row for row in rows if row['name'] == name), None)
