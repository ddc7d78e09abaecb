"""The embedded Redis of an environment. It is a Valkey server under supervision, which listens on a Unix socket in the
environment's directory.
"""

from __future__ import annotations

import fcntl
import os
import random
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.interfaces.reactor import IReactor
from zatotx.model.errors import StartError
from zatotx.redis.connector import send_single_command
from zatotx.redis.deferred_waiters import WaiterSet
from zatotx.redis.redis_url import RedisAddress
from zatotx.redis.server_process import ServerProcess, find_server_binary
from zatotx.rules.resilience.outgoing_retry import backoff_delay
from zatotx.system.atomic_file import write_file

SOCKET, CONFIG = 'redis.sock', 'redis.conf'
# Held by the supervisor only, and by the server process and its children, which inherit it.
_OWN_LOCK, _SERVER_LOCK = 'supervisor.lock', 'server.lock'

# `appendfsync always`: acknowledged writes are on disk. With `everysec`, the server postpones a write while the disk is
# syncing, so that even a crash of the server alone could lose an acknowledged one. On an SSD this costs 0.1-0.4 ms per
# write, shared by all writes of one event loop iteration.
_SETTINGS = f"""\
# Generated at every start: changes are lost. To use another Redis server, pass --redis-url.
port 0
unixsocket {SOCKET}
unixsocketperm 700
dir ./
daemonize no
pidfile server.pid
logfile ""
loglevel notice
set-proc-title no
save ""
appendonly yes
appendfsync always
aof-load-truncated yes
maxmemory-policy noeviction
"""

_MAX_DELAY = 5.0  # seconds between restarts
_STABLE_AFTER = 10.0  # seconds of uptime after which the next restart is fast again
_STOP_TIMEOUT = 10.0  # seconds to save and exit
_PROBE_INTERVAL = 0.05  # seconds between two probes


def make_redis_service(directory: str, reactor: IReactor) -> RedisSupervisor:
    """Create the service that runs the Redis server in `directory`. Its `startService` raises StartError if the server
    cannot be started; otherwise it returns a Deferred that fires when Redis replies or fails with StartError."""
    return RedisSupervisor(Path(directory).absolute(), reactor)


class RedisSupervisor(Service):
    """Supervises the process of the Redis server. It starts the server, restarts it when it dies, and stops it on
    shutdown.

    A lock ensures one supervisor per directory. A server left over by an earlier supervisor is shut down first: two
    servers on the same files would corrupt them.
    """

    _log = Logger()

    def __init__(self, directory: Path, reactor: IReactor) -> None:
        """`reactor`: IReactorTime, IReactorProcess, IReactorUNIX."""
        self.address = RedisAddress(path=str(directory / SOCKET))
        self.ready = False  # it has replied since its last start
        self._directory = directory
        self._reactor = reactor
        self._binary = Path()
        self._lock_fd = -1
        self._process: ServerProcess | None = None
        self._task: Deferred[None] | None = None
        self._was_ready = False
        self._outages = _OutageLog(directory)
        self._waiters = WaiterSet()

    def startService(self) -> Deferred[None]:
        self._binary = find_server_binary()
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock_fd = _try_lock(self._directory / _OWN_LOCK)
        if self._lock_fd < 0:
            raise StartError(f'{self._directory} already has a running zato-redis: stop that one first')
        super().startService()  # type: ignore[no-untyped-call]
        self._was_ready = False
        ready = self.wait_ready()
        self._task = Deferred.fromCoroutine(self._run())
        self._task.addErrback(self._on_failed)
        return ready

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        self.ready = False
        if self._task is not None:
            self._task.cancel()
            self._task = None
        has_ended = succeed(None) if self._process is None else self._process.stop(self._reactor, _STOP_TIMEOUT)
        return has_ended.addBoth(self._unlock)

    def wait_ready(self) -> Deferred[None]:
        """Fires when Redis replies; fails with StartError if it cannot start at all or is stopped first."""
        if self.ready:
            return succeed(None)
        return self._waiters.wait()

    async def _run(self) -> None:
        """Run one server process after another. Raises only before the first one has replied: the caller of
        startService waits for that, and the process exits. After that, every failure is retried."""
        failures = 0
        while True:
            began = self._reactor.seconds()
            try:
                reason, details = await self._run_once()
                if not self._was_ready:
                    raise StartError(f'Redis in {self._directory} cannot start: {details}')
            except CancelledError:
                raise
            except Exception as error:
                if not self._was_ready:
                    raise
                reason = details = _describe(error)
                if not isinstance(error, OSError | StartError):
                    self._log.failure('Redis in {where}: it could not be started', where=self._directory)
            failures = 0 if self._reactor.seconds() - began > _STABLE_AFTER else failures + 1
            delay = backoff_delay(failures, random.random, cap=_MAX_DELAY)
            self._outages.report(reason, details, delay)
            await deferLater(self._reactor, delay)

    async def _run_once(self) -> tuple[str, str]:
        """Run one server process to its end; returns the reason why it ended, without and with its last output."""
        lock = await self._server_lock()
        try:
            self._process = process = self._spawn(lock)
        finally:
            os.close(lock)  # the process has inherited it
        probing = Deferred.fromCoroutine(self._probe_until_ready(process))
        probing.addErrback(lambda failure: failure.trap(CancelledError) and None)
        try:
            reason = await _copy_result(process.ended)
            return reason, f'{reason}: {process.last_output}'
        finally:
            self.ready = False
            probing.cancel()

    async def _server_lock(self) -> int:
        """Acquire the lock that a server process inherits, after the server of an earlier supervisor has ended."""
        path = self._directory / _SERVER_LOCK
        fd, is_stop_requested = _try_lock(path), False
        deadline = self._reactor.seconds() + _STOP_TIMEOUT
        while fd < 0 and self._reactor.seconds() < deadline:
            if not is_stop_requested:
                is_stop_requested = True
                await self._stop_leftover_server()
            await deferLater(self._reactor, _PROBE_INTERVAL)
            fd = _try_lock(path)
        if fd < 0:
            raise StartError(
                f'{self._directory} is in use by a Redis of an earlier run that does not stop: kill process'
                f' {_read_pid(self._directory / "server.pid")} first'
            )
        return fd

    async def _stop_leftover_server(self) -> None:
        self._log.warn('{where} has a Redis of an earlier run, which is being shut down', where=self._directory)
        try:
            await send_single_command(self._reactor, self.address, 'SHUTDOWN')
        except CancelledError:
            raise
        except Exception as error:
            # It disconnects instead of replying, or cannot reply any more: the lock decides.
            self._log.debug('{where}: SHUTDOWN: {error}', where=self._directory, error=error)

    def _spawn(self, lock: int) -> ServerProcess:
        config = self._directory / CONFIG
        write_file(config, _SETTINGS.encode('utf-8'))
        (self._directory / SOCKET).unlink(missing_ok=True)
        process = ServerProcess()
        devnull = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        umask = os.umask(0o077)
        try:
            # The working directory is the server's, so that the name of its socket is short however long the path is.
            self._reactor.spawnProcess(
                process,
                str(self._binary),
                [str(self._binary), str(config)],
                env={},
                path=str(self._directory),
                childFDs={0: devnull, 1: 'r', 2: 'r', 3: lock},
            )
        finally:
            os.umask(umask)
            os.close(devnull)
        return process

    async def _probe_until_ready(self, process: ServerProcess) -> None:
        while not process.has_ended:
            try:
                await send_single_command(self._reactor, self.address, 'PING')
            except CancelledError:
                raise
            except Exception:
                # Not listening yet, or still loading its data.
                await deferLater(self._reactor, _PROBE_INTERVAL)
            else:
                self._on_ready()
                return

    def _on_ready(self) -> None:
        self.ready = self._was_ready = True
        self._outages.over()
        self._log.info('{address} answers', address=self.address)
        self._waiters.fire_all()

    def _on_failed(self, failure: Failure) -> None:
        """Fail the waiters: no process has replied since the start, or the service is being stopped."""
        stopped = failure.check(CancelledError)
        self._waiters.fail_all(StartError(f'Redis in {self._directory} was stopped') if stopped else failure)

    def _unlock(self, result: Any) -> Any:
        fd, self._lock_fd = self._lock_fd, -1
        if fd >= 0:
            os.close(fd)
        return result


class _OutageLog:
    """Logs why Redis is unavailable, each reason once until Redis replies again."""

    _log = Logger()

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._reported: set[str] = set()

    def report(self, reason: str, details: str, delay: float) -> None:
        """Log that the server ended or could not be started, and that it is restarted in `delay` seconds."""
        if reason not in self._reported:
            self._reported.add(reason)
            self._log.error(
                'Redis in {where}: {details}; it is restarted in {delay:.1f} s, and then every few seconds',
                where=self._directory,
                details=details,
                delay=delay,
            )

    def over(self) -> None:
        """Forget the logged reasons, because Redis replies."""
        self._reported.clear()


def _describe(error: Exception) -> str:
    """Describe why a server process could not be started."""
    if isinstance(error, OSError) and error.strerror:
        return f'{error.strerror}: {error.filename}' if error.filename else error.strerror
    return str(error) or type(error).__name__


def _copy_result(source: Deferred[str]) -> Deferred[str]:
    """Return a copy of `source`'s result that can be cancelled without cancelling `source`."""
    copy: Deferred[str] = Deferred()

    def copy_result(value: str) -> str:
        if not copy.called:
            copy.callback(value)
        return value

    source.addCallback(copy_result)
    return copy


def _try_lock(path: Path) -> int:
    """Return a descriptor that holds the lock at `path`, or -1 if another process holds it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return -1
    return fd


def _read_pid(path: Path) -> str:
    return path.read_text().strip() if path.is_file() else '(its PID is not known)'
