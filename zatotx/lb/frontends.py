"""The frontends of a load balancer and their listening sockets. A configuration is applied either to all frontends or
to none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from zatotx.lb.config.model import Configuration, Mode
from zatotx.lb.frontend_interfaces import IFrontend, IFrontendUpdate
from zatotx.rules.listen_address import to_endpoint

MAX_IDLE_GRACE = 5.0  # seconds that clients get to send another request on a connection, and to receive its end with it

Listen = Callable[[str, Any], Deferred[IListeningPort]]


class AddressFactory(Factory):
    """The protocol factory of one listening socket. New connections are passed to `target`, which a new configuration
    may replace while the socket stays open."""

    noisy = False

    def __init__(self, target: IFrontend) -> None:
        self.target = target

    def buildProtocol(self, addr: Any) -> Any:
        return self.target.factory.buildProtocol(addr)


@define(eq=False)
class _Listener:
    """An open listening socket."""

    factory: AddressFactory
    port: IListeningPort


@define(eq=False)
class _Running:
    """A frontend that serves."""

    mode: Mode
    frontend: IFrontend


@define(eq=False)
class PreparedFrontends:
    """The new state of all frontends, which is prepared while the current state stays active. `errors` contains one
    sentence for each error. If there are errors, only `discard` may be called."""

    errors: list[str] = field(factory=list)
    running: dict[str, _Running] = field(factory=dict)
    targets: dict[str, IFrontend] = field(factory=dict)  # endpoint description -> frontend
    opened: dict[str, _Listener] = field(factory=dict)
    prepared: list[IFrontendUpdate] = field(factory=list)


@define(eq=False, kw_only=True)
class Frontends:
    """The running frontends of a load balancer. `make` creates a frontend for a name and a mode, and `listen` opens a
    listening socket."""

    make: Callable[[str, Mode], IFrontend]
    listen: Listen
    _running: dict[str, _Running] = field(factory=dict, init=False)
    _by_name: Mapping[str, IFrontend] = field(factory=dict, init=False)
    _listeners: dict[str, _Listener] = field(factory=dict, init=False)
    _retired: list[IFrontend] = field(factory=list, init=False)  # removed by a configuration, with connections left

    _log = Logger()

    @property
    def by_name(self) -> Mapping[str, IFrontend]:
        """The frontends in force."""
        return self._by_name

    @property
    def connections(self) -> int:
        """All open connections of clients, those of removed frontends included."""
        current = (running.frontend for running in self._running.values())
        return sum(frontend.connections for frontend in (*current, *self._retired))

    @property
    def total_connections(self) -> int:
        """All connections of clients since the start."""
        return sum(running.frontend.total_connections for running in self._running.values())

    async def prepare(self, configuration: Configuration) -> PreparedFrontends:
        """Build the state for a configuration, and open the listening sockets that it adds."""
        plan = PreparedFrontends()
        for name, config in configuration.frontends.items():
            current = self._running.get(name)
            if current is None or current.mode != config.mode:
                current = _Running(config.mode, self.make(name, config.mode))
            try:
                plan.prepared.append(current.frontend.prepare(configuration))
            except ValueError as error:
                plan.errors += [f'frontends.{name}: {line}' for line in str(error).splitlines()]
            plan.running[name] = current
            for address in config.listen:
                plan.targets[to_endpoint(address)] = current.frontend
        if not plan.errors:
            await self._open(plan)
        if plan.errors:
            await self.discard(plan)
        return plan

    async def _open(self, plan: PreparedFrontends) -> None:
        for description, frontend in plan.targets.items():
            if description in self._listeners:
                continue
            factory = AddressFactory(frontend)
            try:
                port = await self.listen(description, factory)
            except Exception as error:  # endpoint parsers and the kernel raise various types
                reason = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
                plan.errors.append(f'Cannot listen on {description!r}: {reason.rstrip(".")}.')
                continue
            plan.opened[description] = _Listener(factory, port)

    async def discard(self, plan: PreparedFrontends) -> None:
        """Close what was opened for a configuration that is not put into force."""
        for listener in plan.opened.values():
            await maybeDeferred(listener.port.stopListening)
        plan.opened.clear()
        for name, running in plan.running.items():
            if running is not self._running.get(name):
                running.frontend.stop()

    def commit(self, plan: PreparedFrontends) -> None:
        """Put a prepared state into force. Sockets that the configuration no longer names are closed, connections are
        not: those of removed frontends end after their current request."""
        for prepared in plan.prepared:
            prepared.commit()
        before, self._running = self._running, plan.running
        self._by_name = {name: running.frontend for name, running in plan.running.items()}
        self._listeners.update(plan.opened)
        for description, target in plan.targets.items():
            self._listeners[description].factory.target = target
        for description in [each for each in self._listeners if each not in plan.targets]:
            self._close(description)
        kept = [running.frontend for running in self._running.values()]
        for running in before.values():
            if running.frontend not in kept:
                self._retire(running.frontend)

    def _close(self, description: str) -> None:
        listener = self._listeners.pop(description)
        closed = maybeDeferred(listener.port.stopListening)
        closed.addErrback(lambda failure: self._log.failure('A listening socket could not be closed', failure))
        self._log.info('No longer listening on {where}', where=description)

    def _retire(self, frontend: IFrontend) -> None:
        self._retired.append(frontend)
        frontend.drain(MAX_IDLE_GRACE)

        def idle(_: object) -> None:
            self._retired.remove(frontend)
            frontend.stop()

        frontend.wait_idle().addCallback(idle)

    def server_down(self, backend: str, server: str) -> None:
        """Let no request wait for a server that probes find down, if it may be sent to another one."""
        for frontend in (*self._retired, *(running.frontend for running in self._running.values())):
            frontend.server_down(backend, server)

    # The end of the process

    async def stop_listening(self) -> None:
        """Close all listening sockets."""
        listeners, self._listeners = self._listeners, {}
        for listener in listeners.values():
            await maybeDeferred(listener.port.stopListening)

    def drain(self, idle_grace: float) -> Deferred[Any]:
        """End all connections after their current or next requests, idle ones after `idle_grace` seconds. The Deferred
        fires when none is left."""
        all_frontends = [*self._retired, *(running.frontend for running in self._running.values())]
        for frontend in all_frontends:
            frontend.drain(idle_grace)
        return gatherResults([frontend.wait_idle() for frontend in all_frontends])

    def stop(self) -> None:
        """Abort all connections that are left."""
        for frontend in (*self._retired, *(running.frontend for running in self._running.values())):
            frontend.stop()
        self._running, self._by_name, self._retired = {}, {}, []
