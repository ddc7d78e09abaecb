"""Registry of the running backends of a load balancer, by name. New configurations are applied through the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from zatotx.interfaces.load_balancer import ServerStatus
from zatotx.lb.backends.backend_server import BackendServer
from zatotx.lb.backends.running_backend import FindState, RunningBackend, ServerHook
from zatotx.lb.config.model import Configuration


@define(eq=False, kw_only=True)
class BackendRegistry:
    """The running backends by name. A backend that a new configuration removes receives no new requests, but the slots
    of its servers remain valid."""

    clock: IReactorTime
    on_server_added: ServerHook = lambda server: None
    on_server_removed: ServerHook = lambda server: None
    on_server_down: ServerHook = lambda server: None
    find_state: FindState = lambda backend, server, configured: configured
    shares_load: bool = False
    update_states: Callable[[], None] = lambda: None
    _backends: dict[str, RunningBackend] = field(factory=dict, init=False)
    on_applied: list[Callable[[], None]] = field(factory=list, init=False)

    @property
    def backends(self) -> Mapping[str, RunningBackend]:
        """The backends by name."""
        return self._backends

    def find(self, name: str) -> RunningBackend:
        """Return a backend. Raises LookupError."""
        return self._backends[name]

    def find_server(self, backend: str, name: str) -> BackendServer:
        """Return a server. Raises LookupError with one sentence."""
        found = self._backends.get(backend)
        if found is None:
            raise LookupError(f'There is no backend {backend!r}')
        if name not in found.servers:
            raise LookupError(f'The backend {backend!r} has no server {name!r}')
        return found.servers[name]

    def apply(self, configuration: Configuration) -> None:
        """Put a configuration into force."""
        cluster = configuration.main.cluster
        for name in [name for name in self._backends if name not in configuration.backends]:
            backend = self._backends.pop(name)
            for server in backend.servers.values():
                self.on_server_removed(server)
            backend.stop()
        for name, config in configuration.backends.items():
            if name not in self._backends:
                self._backends[name] = RunningBackend(
                    name=name, cluster=cluster, clock=self.clock, on_server_added=self.on_server_added,
                    on_server_removed=self.on_server_removed, on_server_down=self.on_server_down,
                    find_state=self.find_state, shares_load=self.shares_load, update_states=self.update_states,
                )  # fmt: skip
            self._backends[name].apply(config)

    def addresses(self) -> list[tuple[str, str, str, int]]:
        """Return the servers of all backends with their addresses, sorted."""
        return sorted((backend.name, server.name, server.host, server.port)
                      for backend in self._backends.values() for server in backend.servers.values())

    def has_servers(self) -> bool:
        """Return whether a probe has found a server of each backend that has probes and servers ready."""
        return all(
            any(server.is_usable and server.health.has_been_up for server in backend.servers.values())
            for backend in self._backends.values() if backend.servers and backend.config.check.type != 'none'
        )

    def statuses(self) -> list[ServerStatus]:
        """Return the status of all servers of all backends."""
        return [status for backend in self._backends.values() for status in backend.statuses()]

    def stop(self) -> None:
        """Stop all backends."""
        for backend in self._backends.values():
            backend.stop()
