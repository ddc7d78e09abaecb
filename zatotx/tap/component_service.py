"""The service that twistd runs for one part of an environment.

It adds to the part what every process of ours owes its surroundings: a pid file while it runs, one sentence on stderr
and exit code 1 where it cannot start, exit code 0 after SIGTERM.
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
from zatotx.tap.exit_status import end_well_on_sigterm, error_sentence, fail_start, on_signal, print_error

Build = Callable[[str, Any], IService]

SIGNALS = {signal.SIGHUP: 'reload', signal.SIGUSR2: 'replace'}  # what a part does then, if it has it


class DirectoryOptions(usage.Options):
    """The options of a part that lives in one directory."""

    optParameters = [['dir', 'd', '', "The part's directory in an environment, e.g. PATH/server1."]]

    def postOptions(self) -> None:
        """Raises UsageError where there is no directory to run in."""
        reactor.install()  # here, before twistd starts whichever there is
        # twistd's own pid file would be in the current directory, where two parts are in each other's way.
        if self.parent is not None and self.parent['pidfile'] == 'twistd.pid':
            self.parent['pidfile'] = ''
        if not self['dir']:
            raise usage.UsageError("--dir is missing: name the part's directory, e.g. --dir /opt/env/server1.")


def make_component_service(options: DirectoryOptions, build: Build, pid_file: str) -> IService:
    """Build the part and wrap it. A part that cannot be built ends the process: SystemExit, code 1."""
    from twisted.internet import reactor as running

    directory = Path(options['dir']).absolute()
    if not (directory / '.zato-info').is_file():
        raise startup_error(
            StartError(f"{directory} is no part of an environment: 'zatotx quickstart create' makes them.")
        )
    try:
        part = build(str(directory), running)
    except (StartError, OSError) as error:
        raise startup_error(error) from None
    return ComponentService(part, directory / pid_file, running)


def startup_error(error: Exception, tell: Callable[[str], None] | None = None) -> SystemExit:
    """Say why the part cannot start; the exception to raise."""
    (tell or print_error)(error_sentence(error))
    return SystemExit(1)


class ComponentService(Service):
    """Starts and stops the part; see the module."""

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
        self._reactor.callWhenRunning(end_well_on_sigterm, self._reactor)
        for number, name in SIGNALS.items():
            if hasattr(self._part, name):
                self._reactor.callWhenRunning(on_signal, self._reactor, number, getattr(self._part, name))
        self._write_pid()

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        self._stopping = True
        stopped: Deferred[None] = maybeDeferred(self._part.stopService)
        return stopped.addBoth(self._stopped)

    def _begin(self, start: Callable[[], object]) -> None:
        """Run one of the two steps of a start, which may fail now or later."""
        try:
            started = start()
        except (StartError, OSError) as error:
            raise startup_error(error, self.say) from None
        if isinstance(started, Deferred):
            started.addCallbacks(self._began, self._failed)

    def say(self, sentence: str) -> None:
        """Tell whoever started us."""
        print_error(sentence)

    def _began(self, result: Any) -> Any:
        """The part has started."""
        return result

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if self._stopping or error is None:  # what a stop cuts short is no news
            return
        if isinstance(error, StartError | OSError):
            fail_start(self._reactor, error_sentence(error), tell=self.say)
        else:
            fail_start(self._reactor, f'{self._pid_file.parent.name} cannot start: {error_sentence(error)}', failure,
                       tell=self.say)

    def _stopped(self, result: Any) -> Any:
        """The pid file goes last, and only if it is still ours."""
        try:
            if self._pid_file.read_text() == pid_line():
                self._pid_file.unlink()
        except FileNotFoundError:
            pass  # somebody tidied up: what we wanted
        return result

    def _write_pid(self) -> None:
        """Whole or not at all: a reader never sees half a number."""
        aside = self._pid_file.with_name(f'.{self._pid_file.name}.{os.getpid()}')
        try:
            aside.write_text(pid_line())
            aside.replace(self._pid_file)
        except OSError as error:
            raise startup_error(error) from None


def pid_line() -> str:
    """What the pid file of this process holds."""
    return f'{os.getpid()}\n'
