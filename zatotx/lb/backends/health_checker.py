"""Active health checks. All servers are probed at their intervals, and a server is probed immediately when failures in
traffic have ejected it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.connectors.tls_client import TlsClientFactory
from zatotx.interfaces.reactor import IReactor
from zatotx.lb.backends.backend_registry import BackendRegistry
from zatotx.lb.backends.backend_server import BackendServer
from zatotx.lb.backends.health_probe import ProbeTarget, run_health_probe
from zatotx.lb.backends.server_tls import make_server_tls
from zatotx.lb.config.model import Backend, Server
from zatotx.lb.server_connector import Dial
from zatotx.rules.balancing.server_health import next_probe_delay

STARTUP_TIME = 10.0  # seconds after its addition in which a server is probed more often, until it is up
STARTUP_INTERVAL = 0.2  # seconds

RunProbe = Callable[[ProbeTarget], Deferred[str]]


@define(eq=False, kw_only=True)
class HealthChecker:
    """Probes the servers of a registry periodically. The registry calls `add` and `remove` for its servers, and the
    function `run` performs one probe."""

    reactor: IReactor  # IReactorTime, and what `run` needs
    directory: Path
    find_backend: Callable[[str], Backend]  # the configuration in force; raises LookupError
    run: RunProbe
    random: Callable[[], float] = random.random
    _checked: dict[tuple[str, str], _CheckedServer] = field(factory=dict, init=False)

    def add(self, server: BackendServer) -> None:
        """Start to probe a server."""
        checked = self._checked[server.backend, server.name] = _CheckedServer(self, server)
        server.on_ejection = checked.probe_now
        checked.schedule(0.0)

    def remove(self, server: BackendServer) -> None:
        """Stop probing a server."""
        checked = self._checked.pop((server.backend, server.name), None)
        if checked is not None:
            checked.stop()

    def configuration_changed(self) -> None:
        """Probe all servers again, because checks or addresses may have changed."""
        for checked in self._checked.values():
            checked.configuration_changed()

    def stop(self) -> None:
        """Stop all probes."""
        for checked in self._checked.values():
            checked.stop()
        self._checked.clear()


class _CheckedServer:
    """The probes of one server: never two at the same time."""

    _log = Logger()

    def __init__(self, checker: HealthChecker, server: BackendServer) -> None:
        self._checker = checker
        self._server = server
        self._timer: IDelayedCall | None = None  # of the next probe
        self._probe: Deferred[Any] | None = None
        self._started = 0.0
        self._added = checker.reactor.seconds()
        self._tls: tuple[Server, TlsClientFactory | None] | None = None
        self._probed: tuple[Server, Backend] | None = None  # configuration of the last probe

    def schedule(self, delay: float) -> None:
        """Run the next probe after `delay` seconds instead of when it was due."""
        self._cancel_timer()
        self._timer = self._checker.reactor.callLater(delay, self._start)

    def probe_now(self) -> None:
        """Probe at once, unless a probe is running."""
        if self._probe is None:
            self.schedule(0.0)

    def configuration_changed(self) -> None:
        """Probe at once if the configuration of the server or of its backend has changed."""
        backend = self._checker.find_backend(self._server.backend)
        if self._probed is not None and self._probed != (self._server.config, backend):
            self._cancel_probe()
            self.schedule(0.0)

    def stop(self) -> None:
        """Stop probing."""
        self._cancel_timer()
        self._cancel_probe()

    def _start(self) -> None:
        self._timer = None
        backend = self._checker.find_backend(self._server.backend)
        self._probed = (self._server.config, backend)
        if backend.check.type == 'none' or self._server.admin_state == 'maint':
            self.schedule(backend.check.interval)
            return
        self._started = self._checker.reactor.seconds()
        try:
            target = self._target(backend)
        except ValueError as error:
            self._finished(str(error))
            return
        probe = self._probe = self._checker.run(target)
        probe.addCallback(self._finished)
        probe.addErrback(self._failed)

    def _target(self, backend: Backend) -> ProbeTarget:
        """Return what to probe. Raises ValueError if the TLS files of the server cannot be used."""
        config, check = self._server.config, backend.check
        if self._tls is None or self._tls[0] != config:
            self._tls = (config, make_server_tls(config.tls, self._checker.directory) if config.tls else None)
        name = config.tls.server_name if config.tls else ''
        return ProbeTarget(
            host=config.host, port=check.port or config.port, check=check, proxy_protocol=backend.proxy_protocol,
            tls=self._tls[1], tls_name=name or config.host,
        )  # fmt: skip

    def _finished(self, reason: str) -> None:
        self._probe = None
        server, checker = self._server, self._checker
        server.good_probes += not reason
        health = server.health
        health = health.record_failed_probe(server.policy, reason) if reason else health.record_good_probe(
            server.policy)
        server.set_health(health)
        elapsed = checker.reactor.seconds() - self._started
        delay = next_probe_delay(health, server.policy, elapsed, checker.random)
        if not health.has_been_up and checker.reactor.seconds() - self._added < STARTUP_TIME:
            delay = min(delay, STARTUP_INTERVAL)  # it probably starts together with the load balancer
        self.schedule(delay)

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure('The probe of a server failed', failure)
            self._finished(f'it could not be probed: {failure.getErrorMessage()}')

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cancel_probe(self) -> None:
        probe, self._probe = self._probe, None
        if probe is not None:
            probe.cancel()


def make_health_checker(reactor: IReactor, dial: Dial, directory: Path, registry: BackendRegistry) -> HealthChecker:
    """Create the health checker of a registry, which probes each server from its addition to its removal."""
    checker = HealthChecker(
        reactor=reactor, directory=directory, find_backend=lambda name: registry.find(name).config,
        run=lambda target: run_health_probe(reactor, dial, target),
    )  # fmt: skip
    registry.on_server_added, registry.on_server_removed = checker.add, checker.remove
    return checker
