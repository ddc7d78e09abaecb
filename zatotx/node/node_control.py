"""Controls any node of the cluster from any other node. A request is sent to all nodes through the cluster's bus, and
the nodes that it concerns respond.

Requests are JSON: `id`, `action`, `node` ('' = every node), `pid` (0 = every worker of the node) and `name`. Replies
have the `id`, `node`, `pid`, and `status` or `error`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Collection, Mapping
from time import time
from typing import Any, Protocol
from uuid import uuid4

import msgspec
from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from zatotx.interfaces.config import IConfigStore, NodeRow
from zatotx.interfaces.node_control import INodeControl, NodeStatus
from zatotx.interfaces.redis import IPubSub
from zatotx.model.errors import Conflict, ServiceError, Timeout

REQUESTS, REPLIES = 'node-control', 'node-control-reply'  # topics
STATUS, RESTART, DRAIN, RESUME, RENAME = 'status', 'restart', 'drain', 'resume', 'rename'  # actions
STATUS_TIMEOUT = 0.5  # seconds
ACTION_TIMEOUT = 30.0  # seconds: a node checks its configuration before it restarts
HEARTBEAT_TIMEOUT = 6.0  # seconds without a heartbeat after which a process counts as down
MAX_FINDINGS = 20  # per process


@define
class _PendingRequest:
    """A request whose replies are collected. `expected`: (node, pid) of the processes that must answer."""

    expected: set[tuple[str, int]]
    done: Deferred[None] = field(factory=Deferred)
    replies: list[Mapping[str, Any]] = field(factory=list)

    def add(self, reply: Mapping[str, Any]) -> None:
        self.replies.append(reply)
        self.expected.discard((str(reply['node']), int(reply['pid'])))
        if not self.expected:
            self.end()

    def end(self) -> None:
        if not self.done.called:
            self.done.callback(None)


class IRestarter(Protocol):
    """The interface of the object that restarts this node (see zatotx.node.node_restart)."""

    async def check(self) -> None:
        """Check that the node can start. Raises Conflict with the problems."""

    async def begin(self) -> None:
        """Start the command that restarts the node."""

    async def set_name(self, name: str) -> Callable[[], Any]:
        """Write another name into the settings; returns a function that writes the old one back. Raises Conflict."""


@implementer(INodeControl)
@define(kw_only=True, eq=False)
class NodeControl:
    """Implements INodeControl, and responds to the requests of other nodes on behalf of this process."""

    name: str
    bus: IPubSub
    clock: IReactorTime
    odb: IConfigStore
    restarter: IRestarter
    own_status: Callable[[], Awaitable[NodeStatus]]
    drain: Callable[[], None]  # of this process
    resume: Callable[[], bool]  # of this process; False = it must be restarted
    pid: int = field(factory=os.getpid)
    _pending: dict[str, _PendingRequest] = field(factory=dict, init=False)

    _log = Logger()

    def start(self) -> None:
        """Answer requests from now on."""
        self.bus.subscribe(REQUESTS, self._requested)
        self.bus.subscribe(REPLIES, self._replied)

    # -- INodeControl

    def statuses(self) -> Deferred[list[NodeStatus]]:
        return Deferred.fromCoroutine(self._statuses())

    def restart(self, name: str) -> Deferred[None]:
        return Deferred.fromCoroutine(self._act(RESTART, name))

    def set_drained(self, name: str, is_drained: bool) -> Deferred[None]:
        return Deferred.fromCoroutine(self._act(DRAIN if is_drained else RESUME, name, is_for_all_workers=True))

    def rename(self, name: str, new_name: str) -> Deferred[None]:
        return Deferred.fromCoroutine(self._rename(name, new_name))

    async def _statuses(self) -> list[NodeStatus]:
        running = running_rows(await self.odb.nodes())
        replies = await self._send_request({'action': STATUS}, {(row.name, row.pid) for row in running}, STATUS_TIMEOUT)
        return merge_statuses(msgspec.convert(reply['status'], NodeStatus) for reply in replies if 'status' in reply)

    async def _rename(self, name: str, new_name: str) -> None:
        rows = await self.odb.nodes()
        if any(row.name == new_name for row in rows):
            raise Conflict(None, f'There is a server named {new_name} already')
        if not any(row.name == name for row in running_rows(rows)):
            raise Conflict(None, f'{name} is not running: set [main] name in its config/server.toml, and start it')
        await self._act(RENAME, name, new_name)

    async def _act(self, action: str, name: str, new_name: str = '', *, is_for_all_workers: bool = False) -> None:
        rows = [row for row in running_rows(await self.odb.nodes()) if row.name == name]
        if not rows:
            raise Conflict(None, f'{name} is not running')
        rows = rows if is_for_all_workers else rows[:1]
        expected = {(row.name, row.pid) for row in rows}
        pid = 0 if is_for_all_workers else rows[0].pid
        message = {'action': action, 'node': name, 'pid': pid, 'name': new_name}
        replies = await self._send_request(message, expected, ACTION_TIMEOUT)
        errors = [str(reply['error']) for reply in replies if reply.get('error')]
        if errors:
            raise Conflict(None, f'{name}: {errors[0]}')
        if len(replies) < len(rows):
            text = f'{name} did not confirm within {ACTION_TIMEOUT:g} s: look at its state before you try again'
            raise Timeout(None, text)

    async def _send_request(
        self, message: Mapping[str, Any], expected: Collection[tuple[str, int]], timeout: float
    ) -> list[Mapping[str, Any]]:
        """Publish a request, and return the replies that come until all expected ones are there, or in time."""
        identifier, pending = uuid4().hex, _PendingRequest(set(expected))
        self._pending[identifier] = pending
        try:
            await self.bus.publish(REQUESTS, json.dumps({'node': '', 'pid': 0, **message, 'id': identifier}))
            if pending.expected:
                timer = self.clock.callLater(timeout, pending.end)
                await pending.done
                if timer.active():
                    timer.cancel()
        finally:
            del self._pending[identifier]
        return pending.replies

    def _replied(self, message: str) -> None:
        try:
            reply = json.loads(message)
            pending = self._pending.get(reply['id'])
            if pending is not None:
                pending.add(reply)
        except (ValueError, TypeError, KeyError) as error:
            self._log.warn('A node sent an unknown reply: {error}', error=str(error))

    # -- requests for this process

    def _requested(self, message: str) -> None:
        try:
            request = json.loads(message)
            is_for_this_process = request['node'] in ('', self.name) and request['pid'] in (0, self.pid)
        except (ValueError, TypeError, KeyError) as error:
            self._log.warn('A node sent an unknown request: {error}', error=str(error))
            return
        if is_for_this_process:
            Deferred.fromCoroutine(self._answer(request))

    async def _answer(self, request: Mapping[str, Any]) -> None:
        answer: dict[str, Any] = {'id': request['id'], 'node': self.name, 'pid': self.pid}
        action, is_restarting = request['action'], False
        try:
            if action == STATUS:
                answer['status'] = msgspec.to_builtins(await self.own_status())
            elif action == DRAIN:
                self._log.warn('{name} is drained by an administrator', name=self.name)
                self.drain()
            elif action == RESUME:
                is_restarting = not self.resume()
                if is_restarting:
                    await self.restarter.check()
            elif action == RENAME:
                await self._take_name(str(request['name']))
                is_restarting = True
            elif action == RESTART:
                await self.restarter.check()
                is_restarting = True
        except ServiceError as error:
            answer['error'], is_restarting = str(error.details), False
        except CancelledError:
            raise
        except Exception as error:
            self._log.failure('{action} of this node failed', action=action)
            answer['error'], is_restarting = str(error) or type(error).__name__, False
        try:
            await self.bus.publish(REPLIES, json.dumps(answer))
        except ServiceError as error:
            self._log.warn('The reply to {action} cannot be sent: {error}', action=action, error=str(error))
        if is_restarting:
            self._log.info('{name} restarts on request: see logs/restart.log', name=self.name)
            await self.restarter.begin()

    async def _take_name(self, name: str) -> None:
        """Change the name in the settings and in the ODB. A name with which the node could not start is not kept."""
        await self.restarter.check()
        restore = await self.restarter.set_name(name)
        try:
            await self.restarter.check()
            await self.odb.rename_node(self.name, name)
        except BaseException:
            await restore()
            raise


def running_rows(rows: Collection[NodeRow]) -> list[NodeRow]:
    """Return the running processes by server name and worker."""
    now = time()
    running = [row for row in rows if row.up_status == 'running' and now - row.seen_at < HEARTBEAT_TIMEOUT]
    return sorted(running, key=lambda row: (row.name, row.worker))


def merge_statuses(statuses: Any) -> list[NodeStatus]:
    """Merge the statuses of workers into one status for each node, by name. The figures are summed over the node's
    workers."""
    merged: dict[str, NodeStatus] = {}
    for one in statuses:
        known = merged.get(one.name)
        merged[one.name] = one if known is None else _merge(known, one)
    return [merged[name] for name in sorted(merged)]


def _merge(first: NodeStatus, second: NodeStatus) -> NodeStatus:
    sums = {name: getattr(first, name) + getattr(second, name)
            for name in ('workers', 'requests', 'calls', 'errors', 'seconds', 'in_flight', 'stalls')}  # fmt: skip
    return msgspec.structs.replace(
        first, **sums, started=min(first.started, second.started), revision=min(first.revision, second.revision),
        is_drained=first.is_drained or second.is_drained,
        restart_problem=first.restart_problem or second.restart_problem,
        findings=tuple(dict.fromkeys((*first.findings, *second.findings))),
    )  # fmt: skip
