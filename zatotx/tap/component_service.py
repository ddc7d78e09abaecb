"""The Twisted service that twistd runs for a component of an environment. It handles start errors, signals and the pid
file.

It wraps the component with what all processes of an environment have in common: a pid file while it runs, one sentence
on stderr and exit code 1 if it cannot start, exit code 0 after SIGTERM.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from select import EPOLLIN
from time import monotonic
from typing import Any, cast

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.failure import Failure

from zatotx.interfaces.reactor import IReactor
from zatotx.model.errors import StartError
from zatotx.system.atomic_file import write_file

RUN_TWISTD = 'from twisted.scripts.twistd import run; run()'  # the program of a worker, where there is no twistd script

_log = Logger()


def print_error(sentence: str) -> None:
    """Write one line to the original stderr of the process, which twistd's logging does not redirect."""
    stream = sys.__stderr__
    if stream is not None:
        stream.write(' '.join(sentence.split()) + '\n')
        stream.flush()


def user_error_message(error: BaseException) -> str:
    """Return a message for an exception whose own text is not meant for users."""
    if isinstance(error, OSError) and error.strerror:
        return f'{error.strerror}: {error.filename}' if error.filename else error.strerror
    return str(error) or type(error).__name__


def end_process_with_start_error(reactor: IReactor, sentence: str, failure: Failure | None = None, *,
               report: Callable[[str], None] | None = None) -> None:
    """End a process whose component cannot start. The sentence is printed to stderr, all services are stopped in order,
    and the exit code is 1.

    `failure` is given for unexpected exceptions, so that the log shows the traceback. `report` receives the sentence
    instead of stderr.
    """
    if failure is not None:
        _log.failure('The component could not start', failure=failure)
    (report or print_error)(sentence)
    # twistd offers no way to set the exit code; after 'shutdown' none of our code is left to run.
    reactor.addSystemEventTrigger('after', 'shutdown', _exit, 1)
    reactor.callWhenRunning(stop_reactor, reactor)


def exit_cleanly_on_sigterm(reactor: IReactor) -> None:
    """Make SIGTERM stop the reactor, so that the process exits with code 0 after it has drained.

    twistd by itself raises the signal again at the end, which process managers count as a failure. Call this in the
    main thread once the reactor runs, because it replaces the reactor's SIGTERM handler.
    """
    signal.signal(signal.SIGTERM, lambda _number, _frame: reactor.callFromThread(stop_reactor, reactor))


def call_on_signal(reactor: IReactor, number: signal.Signals, action: Callable[[], object]) -> None:
    """Call `action` in the reactor's thread whenever a signal is received. Must be called in the main thread."""
    signal.signal(number, lambda _number, _frame: reactor.callFromThread(action))


def stop_reactor(reactor: IReactor) -> None:
    """Stop the reactor. Does nothing if it is already stopping."""
    with suppress(ReactorNotRunning):  # it is stopping already
        reactor.stop()


def _exit(code: int) -> None:
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.flush()
    os._exit(code)


# An epoll reactor with a monotonic clock, without Twisted's logging context around every event.
#
# Twisted's own reactors use the wall clock. If an administrator, or NTP after a long sleep, sets it an hour forward,
# every deadline expires at once; if it is set back, every timer stops for an hour.
#
# The logging context tells an old-style `log.msg` which protocol is active. Nothing in zatotx logs that way, and it
# is the most expensive single step of a small request that is not the request's own work: 1.4 of 23 microseconds,
# measured.

class MonotonicEpollReactor(EPollReactor):
    """An EPollReactor that calls selectables directly. Its method `seconds` is monotonic: the values can be compared
    with each other, but they are not times of day."""

    seconds = staticmethod(monotonic)

    def doPoll(self, timeout: float | None) -> None:
        """Wait at most `timeout` seconds for events (None: without limit), and dispatch them."""
        selectables = self._selectables
        try:
            events = self._poller.poll(-1 if timeout is None else timeout, len(selectables))
        except InterruptedError:
            return
        for fd, event in events:
            selectable = selectables.get(fd)
            if selectable is None:  # closed by an earlier event of this batch
                continue
            if event == EPOLLIN:
                self._read(selectable)
            else:
                self._doReadOrWrite(selectable, fd, event)  # type: ignore[no-untyped-call]

    doIteration = doPoll

    def _read(self, selectable: Any) -> None:
        try:
            reason = selectable.doRead()
        except BaseException as error:  # as in Twisted: closes this connection only
            _log.failure('A connection is closed because of an error')
            reason = error
        if reason:
            self._disconnectSelectable(selectable, reason, True)  # type: ignore[no-untyped-call]


def install() -> None:
    """Install MonotonicEpollReactor, unless the process already has a reactor (`twistd --reactor=…`)."""
    if 'twisted.internet.reactor' not in sys.modules:
        from twisted.internet.main import installReactor

        installReactor(MonotonicEpollReactor())  # type: ignore[no-untyped-call]


BuildComponent = Callable[[str, Any], IService]

SIGNALS = {signal.SIGHUP: 'reload', signal.SIGUSR2: 'replace'}  # signal -> optional method of the component


class DirectoryOptions(usage.Options):
    """Base class of the command-line options of a component that has its own directory."""

    optParameters = [['dir', 'd', '', "The component's directory in an environment, e.g. PATH/server1."]]

    def postOptions(self) -> None:
        """Install our reactor. Raises UsageError if --dir is missing."""
        install()  # before twistd imports the default reactor
        # twistd would write its own pid file to the current directory, where two components would collide.
        if self.parent is not None and self.parent['pidfile'] == 'twistd.pid':
            self.parent['pidfile'] = ''
        if not self['dir']:
            raise usage.UsageError("--dir is missing: give the component's directory, e.g. --dir /opt/env/server1.")


def running_reactor() -> IReactor:
    """Return the reactor of this process. Importing the reactor for the first time installs it."""
    from twisted.internet import reactor

    return cast(IReactor, reactor)


def make_component_service(options: DirectoryOptions, build: BuildComponent, pid_file: str) -> IService:
    """Build a component and wrap it in a ComponentService. Raises SystemExit with code 1 if the component cannot be
    built."""
    reactor_in_use = running_reactor()

    directory = Path(options['dir']).absolute()
    if not (directory / '.zato-info').is_file():
        raise report_startup_error(
            StartError(f"{directory} is not a component of an environment: create one with 'zatotx quickstart create'.")
        )
    try:
        part = build(str(directory), reactor_in_use)
    except (StartError, OSError) as error:
        raise report_startup_error(error) from None
    return ComponentService(part, directory / pid_file, reactor_in_use)


def report_startup_error(error: Exception, report: Callable[[str], None] | None = None) -> SystemExit:
    """Print the reason why a component cannot start, and return the SystemExit exception that the caller must raise."""
    (report or print_error)(user_error_message(error))
    return SystemExit(1)


class ComponentService(Service):
    """Starts and stops a component, and reports start errors (see the module's docstring)."""

    def __init__(self, part: IService, pid_file: Path, reactor: IReactor) -> None:
        self._part = part
        self._pid_file = pid_file
        self._reactor = reactor
        self._stopping = False

    def privilegedStartService(self) -> None:
        self._begin(self._part.privilegedStartService)

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._begin(self._part.startService)
        self._reactor.callWhenRunning(exit_cleanly_on_sigterm, self._reactor)
        for number, name in SIGNALS.items():
            if hasattr(self._part, name):
                self._reactor.callWhenRunning(call_on_signal, self._reactor, number, getattr(self._part, name))
        self._write_pid()

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        self._stopping = True
        stopped: Deferred[None] = maybeDeferred(self._part.stopService)
        return stopped.addBoth(self._component_stopped)

    def _begin(self, start: Callable[[], object]) -> None:
        """Run one of the two start methods, which may fail immediately or through a Deferred."""
        try:
            started = start()
        except (StartError, OSError) as error:
            raise report_startup_error(error, self.report_error) from None
        if isinstance(started, Deferred):
            started.addCallbacks(self._component_started, self._component_failed)

    def report_error(self, sentence: str) -> None:
        """Report an error to the process that started this one."""
        print_error(sentence)

    def _component_started(self, result: Any) -> Any:
        """Called when the component has started."""
        return result

    def _component_failed(self, failure: Failure) -> None:
        error = failure.value
        if self._stopping or error is None:  # a start that is cancelled by a stop is not an error
            return
        if isinstance(error, StartError | OSError):
            end_process_with_start_error(self._reactor, user_error_message(error), report=self.report_error)
        else:
            end_process_with_start_error(
                self._reactor,
                f'{self._pid_file.parent.name} cannot start: {user_error_message(error)}',
                failure,
                report=self.report_error,
            )

    def _component_stopped(self, result: Any) -> Any:
        """Remove the pid file as the last step, and only if it still holds this process's id."""
        try:
            if self._pid_file.read_text() == pid_file_content():
                self._pid_file.unlink()
        except FileNotFoundError:
            pass  # already removed
        return result

    def _write_pid(self) -> None:
        """Write the pid file atomically, so that a reader never sees a partial number."""
        try:
            write_file(self._pid_file, pid_file_content().encode('ascii'))
        except OSError as error:
            raise report_startup_error(error) from None


def pid_file_content() -> str:
    """Return the contents of this process's pid file."""
    return f'{os.getpid()}\n'


COREDUMP_FILTER = Path('/proc/self/coredump_filter')


def disable_core_dumps() -> None:
    """Disable core dumps of this process and its children. The resource limit prevents core files, but does not apply
    to a program that receives the dump, such as systemd-coredump; therefore the kernel is also configured to exclude
    all memory from the dump (see core(5))."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # the kernel lacks it, or /proc is read-only: the limit still applies
        COREDUMP_FILTER.write_text('0')
