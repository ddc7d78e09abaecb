"""Shares the state of the servers among the processes of a load balancer, in shared counters. The parent publishes the
results of probes and the administrative states. Each worker publishes its load and its ejections.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, evolve, field
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from zatotx.lb.backends.backend_server import BackendServer
from zatotx.processes.workers.shared_counters import SharedCounterRow
from zatotx.rules.balancing.shared_server_state import SharedServerState, decode_server_state, encode_server_state

POLL_INTERVAL = 0.05  # seconds between looks at what other processes have written

FindRow = Callable[[str], SharedCounterRow | None]  # the counter of a name, from the point of view of this process


@define(eq=False)
class _Rows:
    """The counters of one server."""

    server: BackendServer
    state: SharedCounterRow  # written by the parent
    ejection: SharedCounterRow  # 1 while a worker ejects the server
    load: SharedCounterRow  # requests of a worker
    last_code: int = 0
    own_ejection: float | None = None


@define(eq=False, kw_only=True)
class SharedServers:
    """Base class for sharing the state of a registry's servers. The registry calls `add` and `remove`. If no shared
    counter is free for a server, the state of this server is not shared."""

    clock: IReactorTime
    find_row: FindRow
    _rows: dict[tuple[str, str], _Rows] = field(factory=dict, init=False)
    _loop: LoopingCall = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._loop = LoopingCall(self.poll_all)
        self._loop.clock = self.clock

    def start(self) -> None:
        """Start to look at the counters."""
        self._loop.start(POLL_INTERVAL)

    def stop(self) -> None:
        """Stop looking. Idempotent."""
        if self._loop.running:
            self._loop.stop()

    def add(self, server: BackendServer) -> None:
        """Share a server."""
        name = f'{server.backend}/{server.name}'
        found = [self.find_row(f'{kind} of {name}') for kind in ('state', 'ejection', 'load')]
        state, ejection, load = found
        if state is None or ejection is None or load is None:
            return
        rows = self._rows[server.backend, server.name] = _Rows(server, state, ejection, load)
        self.connect(rows)
        self.poll(rows)

    def remove(self, server: BackendServer) -> None:
        """Share a server no more."""
        rows = self._rows.pop((server.backend, server.name), None)
        if rows is not None:
            for row in (rows.state, rows.ejection, rows.load):
                row.set_own(0)

    def poll_all(self) -> None:
        """Look at the counters of all servers now."""
        for rows in self._rows.values():
            self.poll(rows)

    def connect(self, rows: _Rows) -> None:
        """Connect a new server with its counters."""
        raise NotImplementedError

    def poll(self, rows: _Rows) -> None:
        """Apply what other processes have written, and write what they need to know."""
        raise NotImplementedError


class ParentServers(SharedServers):
    """The parent's side of the shared state. It publishes the states of servers, and probes a server immediately when a
    worker ejects it."""

    def connect(self, rows: _Rows) -> None:
        """Nothing to connect: the parent has no load."""

    def poll(self, rows: _Rows) -> None:
        """Publish the state. The ejections of workers end with a good probe."""
        server = rows.server
        is_ejected = rows.ejection.sum_of_others() > 0
        if is_ejected != server.is_ejected_elsewhere:
            server.is_ejected_elsewhere = is_ejected
            server.refresh()
            if is_ejected:
                server.on_ejection()
        code = encode_server_state(SharedServerState(server.health.is_down, server.admin_state, server.good_probes))
        if code != rows.last_code:
            rows.last_code = code
            rows.state.set_own(code)


class WorkerServers(SharedServers):
    """The worker's side of the shared state. It applies the states that the parent publishes, and publishes the
    worker's load and ejections."""

    def connect(self, rows: _Rows) -> None:
        """Share the load of the server."""
        rows.server.logs_changes = False
        rows.server.publish_load = rows.load.set_own
        rows.server.load_of_others = rows.load.sum_of_others
        rows.server.on_ejection = lambda: self.poll(rows)

    def poll(self, rows: _Rows) -> None:
        """Apply the state, publish the ejection."""
        server = rows.server
        code = rows.state.sum_of_others()
        state = decode_server_state(code)
        if state is not None and code != rows.last_code:
            before = decode_server_state(rows.last_code)
            rows.last_code = code
            _apply(server, state, is_probed=before is not None and before.good_probes != state.good_probes)
        is_ejected = rows.ejection.sum_of_others() > 0
        if is_ejected != server.is_ejected_elsewhere:
            server.is_ejected_elsewhere = is_ejected
            server.refresh()
        ejected_until = server.health.ejected_until if server.health.is_ejected(self.clock.seconds()) else None
        if ejected_until != rows.own_ejection:
            rows.own_ejection = ejected_until
            rows.ejection.set_own(0 if ejected_until is None else 1)


def _apply(server: BackendServer, state: SharedServerState, *, is_probed: bool) -> None:
    if server.admin_state != state.admin_state:
        server.set_admin_state(state.admin_state)
    health: Any = server.health
    if is_probed:
        health = evolve(health, traffic_failures=0, ejected_until=None)
    server.set_health(evolve(health, is_down=state.is_down, has_been_probed=True,
                             reason='probes fail' if state.is_down else health.reason))
