"""The service that twistd runs for one component of an environment.

It wraps the component with what all processes of an environment have in common: a pid file while it runs, one sentence
on stderr and exit code 1 if it cannot start, exit code 0 after SIGTERM.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python import usage
from twisted.python.failure import Failure

from zatotx.model.errors import StartError
from zatotx.tap import reactor
from zatotx.tap.exit_status import call_on_signal, exit_cleanly_on_sigterm, fail_start, format_error, print_error

BuildComponent = Callable[[str, Any], IService]

SIGNALS = {signal.SIGHUP: 'reload', signal.SIGUSR2: 'replace'}  # signal -> optional method of the component


class DirectoryOptions(usage.Options):
    """Command-line options of a component that has its own directory."""

    optParameters = [['dir', 'd', '', "The component's directory in an environment, e.g. PATH/server1."]]

    def postOptions(self) -> None:
        """Install our reactor. Raises UsageError if --dir is missing."""
        reactor.install()  # before twistd imports the default reactor
        # twistd would write its own pid file to the current directory, where two components would collide.
        if self.parent is not None and self.parent['pidfile'] == 'twistd.pid':
            self.parent['pidfile'] = ''
        if not self['dir']:
            raise usage.UsageError("--dir is missing: give the component's directory, e.g. --dir /opt/env/server1.")


def make_component_service(options: DirectoryOptions, build: BuildComponent, pid_file: str) -> IService:
    """Build the component and wrap it in a ComponentService. Raises SystemExit with code 1 if it cannot be built."""
    from twisted.internet import reactor as reactor_in_use

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


def report_startup_error(error: Exception, tell: Callable[[str], None] | None = None) -> SystemExit:
    """Print why the component cannot start, and return the SystemExit to raise."""
    (tell or print_error)(format_error(error))
    return SystemExit(1)


class ComponentService(Service):
    """Starts and stops a component; see the module's docstring."""

    def __init__(self, part: IService, pid_file: Path, reactor: Any) -> None:
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
            fail_start(self._reactor, format_error(error), tell=self.report_error)
        else:
            fail_start(self._reactor, f'{self._pid_file.parent.name} cannot start: {format_error(error)}', failure,
                       tell=self.report_error)

    def _component_stopped(self, result: Any) -> Any:
        """Remove the pid file as the last step, and only if it still holds this process's id."""
        try:
            if self._pid_file.read_text() == pid_line():
                self._pid_file.unlink()
        except FileNotFoundError:
            pass  # already removed
        return result

    def _write_pid(self) -> None:
        """Write the pid file atomically, so that a reader never sees a partial number."""
        temporary = self._pid_file.with_name(f'.{self._pid_file.name}.{os.getpid()}')
        try:
            temporary.write_text(pid_line())
            temporary.replace(self._pid_file)
        except OSError as error:
            raise report_startup_error(error) from None


def pid_line() -> str:
    """Return the contents of this process's pid file."""
    return f'{os.getpid()}\n'
