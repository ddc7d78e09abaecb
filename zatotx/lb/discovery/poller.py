"""Polls known servers for the list of all servers of the cluster, and reports changes of the list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.connectors.tls_client import TlsClientFactory
from zatotx.interfaces.reactor import IReactor
from zatotx.lb.backends.backend_registry import BackendRegistry
from zatotx.lb.backends.backend_server import BackendServer
from zatotx.lb.backends.server_tls import make_server_tls
from zatotx.lb.config.model import Discovery, ServerTls
from zatotx.lb.discovery.member_list import ClusterMember, parse_member_list
from zatotx.lb.discovery.server_list_request import QueriedServer
from zatotx.system.atomic_file import write_file

CACHE_FILE = 'work/discovered.json'

RequestList = Callable[[QueriedServer, Discovery], Deferred[bytes]]
Members = Mapping[str, list[ClusterMember]]  # by backend

_decoder = msgspec.json.Decoder(dict[str, list[ClusterMember]])


def read_members(directory: Path) -> Members:
    """Read the last server lists, by backend, from a load balancer's directory. Returns an empty dict if there are
    none."""
    try:
        return _decoder.decode((directory / CACHE_FILE).read_bytes())
    except (OSError, msgspec.DecodeError):
        return {}


@define(eq=False, kw_only=True)
class DiscoveryPoller:
    """Polls for the servers of each backend that uses discovery, at the backend's interval. `on_change` is called after
    the stored lists have changed."""

    reactor: IReactor  # IReactorTime
    directory: Path
    registry: BackendRegistry
    request: RequestList
    on_change: Callable[[], Any]
    _members: dict[str, list[ClusterMember]] = field(factory=dict, init=False)
    _timers: dict[str, Any] = field(factory=dict, init=False)  # backend -> IDelayedCall
    _running: dict[str, Deferred[None]] = field(factory=dict, init=False)
    _errors: dict[str, str] = field(factory=dict, init=False)  # backend -> the last error that was logged
    _tls: dict[ServerTls, TlsClientFactory] = field(factory=dict, init=False)
    _is_running: bool = field(default=False, init=False)

    _log = Logger()

    def start(self) -> None:
        """Start with the lists on disk."""
        self._is_running = True
        self._members = dict(read_members(self.directory))

    def stop(self) -> None:
        """Stop asking. Idempotent."""
        self._is_running = False
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for running in list(self._running.values()):
            running.cancel()

    def configuration_changed(self) -> None:
        """Ask for the backends that discover servers now, and for no others."""
        if not self._is_running:
            return
        for name in [name for name in self._timers if self._discovery(name) is None]:
            self._timers.pop(name).cancel()
        for name in self.registry.backends:
            if self._discovery(name) is not None and name not in self._timers and name not in self._running:
                self._schedule(name, 0.0)

    def _discovery(self, backend: str) -> Discovery | None:
        found = self.registry.backends.get(backend)
        return None if found is None else found.config.discovery

    def _schedule(self, backend: str, delay: float) -> None:
        self._timers[backend] = self.reactor.callLater(delay, self._request_list, backend)

    def _request_list(self, backend: str) -> None:
        del self._timers[backend]
        running = self._running[backend] = Deferred.fromCoroutine(self._refresh(backend))
        running.addErrback(self._failed, backend)
        running.addBoth(self._done, backend)

    def _done(self, _: object, backend: str) -> None:
        self._running.pop(backend, None)
        discovery = self._discovery(backend)
        if self._is_running and discovery is not None:
            self._schedule(backend, discovery.interval)

    def _failed(self, failure: Failure, backend: str) -> None:
        if not failure.check(CancelledError):
            self._log.failure('The servers of {backend} could not be discovered', failure, backend=backend)

    async def _refresh(self, backend: str) -> None:
        """Ask one known server after another, those that are up first, until one responds."""
        discovery = self._discovery(backend)
        assert discovery is not None
        errors = []
        for server in self._known_servers(backend):
            try:
                body = await self.request(self._target(server), discovery)
                members = parse_member_list(body)
            except CancelledError:
                raise
            except Exception as error:  # of Twisted, TLS, the files of TLS, or the response
                errors.append(f'{server.name}: {str(error) or type(error).__name__}')
                continue
            self._log_error(backend, '')
            self._store(backend, members)
            return
        self._log_error(backend, '; '.join(errors) or 'there is no known server')

    def _known_servers(self, backend: str) -> Iterator[BackendServer]:
        servers = list(self.registry.find(backend).servers.values())
        yield from sorted(servers, key=lambda server: not server.is_usable)

    def _target(self, server: BackendServer) -> QueriedServer:
        config = server.config
        if config.tls is None:
            return QueriedServer(name=server.name, host=config.host, port=config.port)
        if config.tls not in self._tls:
            self._tls[config.tls] = make_server_tls(config.tls, self.directory)
        return QueriedServer(name=server.name, host=config.host, port=config.port, tls=self._tls[config.tls],
                           tls_name=config.tls.server_name or config.host)

    def _store(self, backend: str, members: list[ClusterMember]) -> None:
        if self._members.get(backend) == members:
            return
        self._log.info('The servers of {backend} are now {names}', backend=backend,
                       names=', '.join(member.name for member in members) or 'none')
        self._members[backend] = members
        try:
            write_file(self.directory / CACHE_FILE, msgspec.json.encode(self._members))
        except OSError as error:
            self._log.error('The list of servers cannot be saved: {why}', why=str(error))
            return
        self.on_change()

    def _log_error(self, backend: str, error: str) -> None:
        """Log an error once, and that it is over."""
        if self._errors.get(backend, '') != error:
            self._errors[backend] = error
            if error:
                self._log.error('No known server says which servers {backend} has: {error}; the last list stays in use',
                                backend=backend, error=error)
            else:
                self._log.info('The servers of {backend} are known again', backend=backend)
