"""The Redis of an environment: a real Valkey server on a Unix socket in its directory, kept running."""

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

from zatotx.model.errors import StartError
from zatotx.redis.one_shot_command import send_command
from zatotx.redis.server_binary import find_binary
from zatotx.redis.server_process import ServerProcess
from zatotx.redis.url import RedisAddress
from zatotx.redis.waiters import Waiters
from zatotx.rules.resilience.backoff import next_delay

SOCKET, CONFIG = 'redis.sock', 'redis.conf'
# Held by the supervisor alone, and by the server process and its children, who inherit it.
_OWN_LOCK, _SERVER_LOCK = 'supervisor.lock', 'server.lock'

# `appendfsync always`: what was acknowledged is on disk. With `everysec` the server puts a write off while the disk is
# busy syncing, so that even its own death alone could lose an answered one. A write costs 0.1-0.4 ms more on an SSD,
# shared by all that come in the same turn.
_SETTINGS = f"""\
# Written anew at every start: changes here are lost. A Redis of your own is named with --redis-url.
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

_LONGEST_DELAY = 5.0  # seconds between restarts
_STABLE = 10.0  # seconds it has to run for the next restart to be quick again
_PATIENCE = 10.0  # seconds to save and end
_PROBE = 0.05  # seconds between looks


def make_redis_service(directory: str, reactor: Any) -> RedisSupervisor:
    """The service that runs the Redis of `directory`. Its `startService` raises StartError where that cannot be, and
    else returns a Deferred that fires once Redis answers or fails with StartError."""
    return RedisSupervisor(Path(directory).absolute(), reactor)


class RedisSupervisor(Service):
    """Starts the server, starts it again when it dies, ends it when it is stopped itself.

    One supervisor a directory, by a lock. A server that outlived an earlier supervisor is asked to end first: two on
    the same files would destroy them.
    """

    _log = Logger()

    def __init__(self, directory: Path, reactor: Any) -> None:
        """`reactor`: IReactorTime, IReactorProcess, IReactorUNIX."""
        self.address = RedisAddress(path=str(directory / SOCKET))
        self.ready = False  # it answered since it was started last
        self._directory = directory
        self._reactor = reactor
        self._binary = Path()
        self._lock_fd = -1
        self._child: ServerProcess | None = None
        self._task: Deferred[None] | None = None
        self._answered = False
        self._outages = _OutageLog(directory)
        self._waiting = Waiters()

    def startService(self) -> Deferred[None]:
        self._binary = find_binary()
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock_fd = _locked(self._directory / _OWN_LOCK)
        if self._lock_fd < 0:
            raise StartError(f'{self._directory} has a running zato-redis already: stop that one first')
        super().startService()  # type: ignore[no-untyped-call]
        self._answered = False
        ready = self.wait_ready()
        self._task = Deferred.fromCoroutine(self._run())
        self._task.addErrback(self._gave_up)
        return ready

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        self.ready = False
        if self._task is not None:
            self._task.cancel()
            self._task = None
        gone = succeed(None) if self._child is None else self._child.stop(self._reactor, _PATIENCE)
        return gone.addBoth(self._unlock)

    def wait_ready(self) -> Deferred[None]:
        """Fires when Redis answers; fails with StartError where it cannot start at all or is stopped first."""
        if self.ready:
            return succeed(None)
        return self._waiting.wait()

    async def _run(self) -> None:
        """Run one server process after another, for ever. Raises only where none has answered yet: whoever started us
        waits for that, and the process ends. Once one has answered every failure is retried, whatever it is."""
        failures = 0
        while True:
            began = self._reactor.seconds()
            try:
                why, details = await self._one_life()
                if not self._answered:
                    raise StartError(f'Redis in {self._directory} cannot start: {details}')
            except CancelledError:
                raise
            except Exception as error:
                if not self._answered:
                    raise
                why = details = _cause(error)
                if not isinstance(error, OSError | StartError):
                    self._log.failure('Redis in {where}: it could not be started', where=self._directory)
            failures = 0 if self._reactor.seconds() - began > _STABLE else failures + 1
            delay = next_delay(failures, random.random, cap=_LONGEST_DELAY)
            self._outages.report(why, details, delay)
            await deferLater(self._reactor, delay)

    async def _one_life(self) -> tuple[str, str]:
        """From start to end of one server process; why it ended, and the same with its last words."""
        lock = await self._server_lock()
        try:
            self._child = child = self._spawn(lock)
        finally:
            os.close(lock)  # the process has its own now
        probing = Deferred.fromCoroutine(self._until_it_answers(child))
        probing.addErrback(lambda failure: failure.trap(CancelledError) and None)
        try:
            why = await _shared(child.ended)
            return why, f'{why}: {child.last_words}'
        finally:
            self.ready = False
            probing.cancel()

    async def _server_lock(self) -> int:
        """The lock that a server process inherits, after the one of an earlier supervisor has ended."""
        path = self._directory / _SERVER_LOCK
        fd, asked = _locked(path), False
        until = self._reactor.seconds() + _PATIENCE
        while fd < 0 and self._reactor.seconds() < until:
            if not asked:
                asked = True
                await self._retire_stranger()
            await deferLater(self._reactor, _PROBE)
            fd = _locked(path)
        if fd < 0:
            raise StartError(
                f'{self._directory} is in use by a Redis of an earlier run that does not stop: end process'
                f' {_content(self._directory / "server.pid")} first'
            )
        return fd

    async def _retire_stranger(self) -> None:
        self._log.warn('{where} has a Redis of an earlier run: it is asked to end', where=self._directory)
        try:
            await send_command(self._reactor, self.address, 'SHUTDOWN')
        except CancelledError:
            raise
        except Exception as error:
            # It hangs up instead of answering, or is past answering: the lock will tell.
            self._log.debug('{where}: SHUTDOWN: {error}', where=self._directory, error=error)

    def _spawn(self, lock: int) -> ServerProcess:
        config = self._directory / CONFIG
        _write_private(config, _SETTINGS)
        (self._directory / SOCKET).unlink(missing_ok=True)
        child = ServerProcess()
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        umask = os.umask(0o077)
        try:
            # The working directory is its own, so that its socket's name is short however long the path is.
            self._reactor.spawnProcess(
                child,
                str(self._binary),
                [str(self._binary), str(config)],
                env={},
                path=str(self._directory),
                childFDs={0: nothing, 1: 'r', 2: 'r', 3: lock},
            )
        finally:
            os.umask(umask)
            os.close(nothing)
        return child

    async def _until_it_answers(self, child: ServerProcess) -> None:
        while not child.gone:
            try:
                await send_command(self._reactor, self.address, 'PING')
            except CancelledError:
                raise
            except Exception:
                # Not listening yet, or still loading its data.
                await deferLater(self._reactor, _PROBE)
            else:
                self._came_up()
                return

    def _came_up(self) -> None:
        self.ready = self._answered = True
        self._outages.over()
        self._log.info('{address} answers', address=self.address)
        self._waiting.fire()

    def _gave_up(self, failure: Failure) -> None:
        """None has answered since the start, or we are being stopped."""
        stopped = failure.check(CancelledError)
        self._waiting.fail(StartError(f'Redis in {self._directory} was stopped') if stopped else failure)

    def _unlock(self, result: Any) -> Any:
        fd, self._lock_fd = self._lock_fd, -1
        if fd >= 0:
            os.close(fd)
        return result


class _OutageLog:
    """Logs why Redis is away: each reason once until it answers again."""

    _log = Logger()

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._reported: set[str] = set()

    def report(self, why: str, details: str, delay: float) -> None:
        """It ended, or could not be started, and is started again in `delay` seconds."""
        if why not in self._reported:
            self._reported.add(why)
            self._log.error(
                'Redis in {where}: {details}; it is started again in {delay:.1f} s, and then every few seconds',
                where=self._directory,
                details=details,
                delay=delay,
            )

    def over(self) -> None:
        """It answers."""
        self._reported.clear()


def _cause(error: Exception) -> str:
    """Why no server process could be started, in words."""
    if isinstance(error, OSError) and error.strerror:
        return f'{error.strerror}: {error.filename}' if error.filename else error.strerror
    return str(error) or type(error).__name__


def _shared(source: Deferred[str]) -> Deferred[str]:
    """What `source` gives, to somebody whose cancelling must leave `source` alone."""
    copy: Deferred[str] = Deferred()

    def give(value: str) -> str:
        if not copy.called:
            copy.callback(value)
        return value

    source.addCallback(give)
    return copy


def _locked(path: Path) -> int:
    """A descriptor that holds the lock at `path`, or -1 where somebody else does."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return -1
    return fd


def _write_private(path: Path, text: str) -> None:
    """Whole or not at all, for the owner alone."""
    aside = path.with_name(f'.{path.name}.new')
    aside.unlink(missing_ok=True)
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, 'w', encoding='utf-8') as file:
        file.write(text)
    aside.replace(path)


def _content(path: Path) -> str:
    return path.read_text().strip() if path.is_file() else '(its number is not known)'
