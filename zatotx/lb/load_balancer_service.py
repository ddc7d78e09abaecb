"""The load balancer service of one process. It starts the load balancer, applies configurations, drains connections,
and stops the load balancer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, Protocol

from attrs import define, field
from twisted.application.service import IService, Service
from twisted.internet.defer import CancelledError, Deferred, DeferredLock, maybeDeferred
from twisted.internet.defer import TimeoutError as DrainTimeout
from twisted.internet.task import deferLater
from twisted.logger import Logger

from zatotx.interfaces.load_balancer import RenamedServer
from zatotx.interfaces.reactor import IReactor
from zatotx.lb.backends.backend_registry import BackendRegistry
from zatotx.lb.backends.health_checker import HealthChecker
from zatotx.lb.backends.saved_server_states import SavedServerStates
from zatotx.lb.config.files import ConfigurationFiles
from zatotx.lb.config.model import Configuration, LogSettings
from zatotx.lb.config.parser import parse_configuration
from zatotx.lb.frontends import MAX_IDLE_GRACE, Frontends
from zatotx.lb.statistics.statistics_page import format_duration
from zatotx.lb.statistics.statistics_responder import StatisticsResponder
from zatotx.model.errors import StartError

STARTUP_WAIT = 5.0  # seconds that the load balancer waits for servers before it accepts connections without any
_POLL_INTERVAL = 0.02


class ReloadableLogFiles(Protocol):
    """The interface of the log files of a process, which can be reloaded."""

    def start(self) -> None:
        """Start writing."""

    def stop(self) -> None:
        """Flush and close the files."""

    def reload(self, settings: LogSettings) -> None:
        """Apply other settings and reopen the files."""


class LoadBalancerPart(Protocol):
    """The interface of a component that runs while the load balancer runs."""

    def start(self) -> None:
        """Start it."""

    def stop(self) -> None:
        """Stop it. Idempotent."""


class ReleasableDirectoryLock(Protocol):
    """The interface of a releasable lock on the load balancer's directory."""

    def release(self) -> None:
        """Release it. Idempotent."""


@define(eq=False, slots=False, kw_only=True)
class LoadBalancer(Service):
    """The load balancer service of one process, which is a single process, the parent of workers, or a worker.
    `checker` is None in a worker, because the parent process probes the servers. `load` returns the initial
    configuration and its text, and raises StartError. `read_source` returns the text that a reload applies. `parts` are
    started before the first configuration becomes active, and stopped at the end. `on_applied` is called after each
    configuration. If it returns a Deferred, the configuration is active everywhere when the Deferred has fired.
    `extend` adds discovered servers."""

    reactor: IReactor
    files: ConfigurationFiles
    load: Callable[[], tuple[Configuration, str]]
    read_source: Callable[[], str]
    logs: ReloadableLogFiles
    lock: ReleasableDirectoryLock
    registry: BackendRegistry
    frontends: Frontends
    responder: StatisticsResponder
    checker: HealthChecker | None = None
    states: SavedServerStates | None = None
    parts: Sequence[LoadBalancerPart] = ()
    on_applied: Callable[[], Deferred[None] | None] = lambda: None
    extend: Callable[[Configuration], Configuration] = lambda configuration: configuration
    agent: IService | None = None
    configuration: Configuration | None = field(default=None, init=False)
    source: str = field(default='', init=False)
    _applying: DeferredLock = field(factory=DeferredLock, init=False)
    _starting: Deferred[None] | None = field(default=None, init=False)

    _log = Logger()

    def startService(self) -> Deferred[None]:
        """Start. The Deferred fires when all frontends listen, and fails with StartError, one sentence, if they
        cannot."""
        super().startService()  # type: ignore[no-untyped-call]
        self.logs.start()
        starting = self._starting = Deferred.fromCoroutine(self._start())
        return starting

    async def _start(self) -> None:
        configuration, source = self.load()
        for part in self.parts:
            part.start()
        if self.checker is not None:
            await self._wait_for_servers(configuration)
        await self._applying.acquire()  # a reload may be requested already
        try:
            errors = await self._put_into_force(configuration, source)
        finally:
            self._applying.release()
        if errors:
            raise StartError(' '.join(errors))
        if self.agent is not None:
            self.agent.startService()
        self._log.info('The load balancer serves {count} frontends: {names}', count=len(configuration.frontends),
                       names=', '.join(configuration.frontends) or 'none')

    async def _wait_for_servers(self, configuration: Configuration) -> None:
        """Probe the servers, and wait a moment for those that start together with the load balancer."""
        self.registry.apply(self.extend(configuration))
        end = self.reactor.seconds() + STARTUP_WAIT
        while not self.registry.has_servers() and self.reactor.seconds() < end:
            await deferLater(self.reactor, _POLL_INTERVAL)

    @property
    def digest(self) -> str:
        """Identify what is in force: the configuration, and the servers that were discovered."""
        return sha256(f'{self.source}{self.registry.addresses()}'.encode()).hexdigest()

    # Configuration

    async def apply_source(self, source: str, renamed: RenamedServer | None = None) -> list[str]:
        """Validate a configuration, write it to lb.toml and put it into force. Returns the errors; if there is one,
        nothing has changed."""
        return await self._apply_exclusively(source, writes_file=True, renamed=renamed)

    def servers_discovered(self) -> None:
        """Put the configuration in force into force again, with the servers that were discovered."""
        reapplying = Deferred.fromCoroutine(self._apply_exclusively(None, writes_file=False))
        reapplying.addErrback(lambda failure: self._log.failure('The discovered servers are not in use', failure))

    def reload(self) -> None:
        """SIGHUP: put lb.toml into force and reopen the log files. If lb.toml has errors, they are logged only."""
        self._reload().addErrback(lambda failure: self._log.failure('The configuration was not reloaded', failure))

    def _reload(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._reload_file())

    async def _reload_file(self) -> None:
        try:
            source = self.read_source()
        except (OSError, ValueError) as error:
            self._log.error('The configuration is unchanged, because lb.toml cannot be read: {why}', why=str(error))
            return
        errors = await self._apply_exclusively(source, writes_file=False)
        for sentence in errors:
            self._log.error('lb.toml: {error}', error=sentence)
        if errors:
            self._log.error('The configuration is unchanged, because lb.toml has {count} errors', count=len(errors))

    async def _apply_exclusively(self, source: str | None, *, writes_file: bool,
                                 renamed: RenamedServer | None = None) -> list[str]:
        """Apply the text of a configuration, or the one in force again."""
        await self._applying.acquire()
        try:
            return await self._apply(self.source if source is None else source, writes_file, renamed)
        finally:
            self._applying.release()

    async def _apply(self, source: str, writes_file: bool, renamed: RenamedServer | None) -> list[str]:
        configuration, errors = parse_configuration(source, self.files.directory)
        if configuration is None:
            return errors
        errors = await self._put_into_force(configuration, source, writes_file=writes_file, renamed=renamed)
        if not errors:
            self.logs.reload(configuration.log)
            self._log.info('A new configuration is in force')
        return errors

    async def _put_into_force(self, configuration: Configuration, source: str, *, writes_file: bool = False,
                              renamed: RenamedServer | None = None) -> list[str]:
        extended = self.extend(configuration)
        plan = await self.frontends.prepare(extended)
        if plan.errors:
            return plan.errors
        if writes_file:
            try:
                self.files.write(source)
            except OSError as error:
                await self.frontends.discard(plan)
                return [f'{self.files.path} cannot be written: {error.strerror}.']
        if self.states is not None and renamed is not None:
            self.states.rename(renamed.backend, renamed.old, renamed.new)
        self.registry.apply(extended)
        self.responder.settings = configuration.stats
        self.frontends.commit(plan)
        if self.checker is not None:
            self.checker.configuration_changed()
            self.files.keep(source)
        if self.states is not None:
            self.states.forget_changed(extended)
        self.configuration, self.source = configuration, source
        applied = self.on_applied()
        if applied is not None:
            await applied
        return []

    # The end

    def stopService(self) -> Deferred[None]:
        """Drain and stop: new connections are not accepted, requests in progress get the grace period."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._starting is not None:
            self._starting.cancel()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        try:
            await self.frontends.stop_listening()
            await self._drain()
            if self.agent is not None:
                await maybeDeferred(self.agent.stopService)
        finally:
            self._release()

    def retire(self) -> Deferred[None]:
        """Accept no new clients, and fire when those that are left have ended, at the latest after the grace period:
        another worker has replaced this one."""
        return Deferred.fromCoroutine(self._retire())

    async def _retire(self) -> None:
        await self.frontends.stop_listening()
        await self._drain()

    async def _drain(self) -> None:
        grace = self.configuration.shutdown.grace if self.configuration is not None else 0.0
        try:
            idle_grace = min(MAX_IDLE_GRACE, grace / 2)
            await self.frontends.drain(idle_grace).addTimeout(grace, self.reactor)
        except (DrainTimeout, CancelledError):
            self._log.warn('{count} connections are closed after the grace period of {grace} s',
                           count=self.frontends.connections, grace=grace)

    def _release(self) -> None:
        self.frontends.stop()
        for part in self.parts:
            part.stop()
        if self.checker is not None:
            self.checker.stop()
        self.registry.stop()
        self._log.info('The load balancer has stopped')
        self.logs.stop()
        self.lock.release()


def process_overview(control: Any) -> list[tuple[str, str]]:
    """Return the facts about the process that the statistics page shows, such as the version and the uptime, as pairs
    of name and value."""
    info = control.info()
    return [('version', str(info['version'])), ('process', str(info['pid'])), ('workers', str(info['workers'])),
            ('uptime', format_duration(info['uptime'])), ('connections', str(info['current_sessions'])),
            ('requests', str(info['total_sessions']))]  # fmt: skip
