"""Exit status of our processes: 0 after SIGTERM, 1 with one sentence on stderr if the component cannot start."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger
from twisted.python.failure import Failure

_log = Logger()


def print_error(sentence: str) -> None:
    """Write one line to the process's original stderr, which twistd's logging does not redirect."""
    stream = sys.__stderr__
    if stream is not None:
        stream.write(' '.join(sentence.split()) + '\n')
        stream.flush()


def format_error(error: BaseException) -> str:
    """Return a message for an exception that has none written for people."""
    if isinstance(error, OSError) and error.strerror:
        return f'{error.strerror}: {error.filename}' if error.filename else error.strerror
    return str(error) or type(error).__name__


def fail_start(reactor: Any, sentence: str, failure: Failure | None = None, *,
               report: Callable[[str], None] | None = None) -> None:
    """End a process whose component cannot start: print the sentence to stderr, stop everything in order, exit with
    code 1.

    `failure` is given for unexpected exceptions, so that the log shows the traceback. `report` receives the sentence
    instead of stderr.
    """
    if failure is not None:
        _log.failure('The component could not start', failure=failure)
    (report or print_error)(sentence)
    # twistd offers no way to set the exit code; after 'shutdown' none of our code is left to run.
    reactor.addSystemEventTrigger('after', 'shutdown', _exit, 1)
    reactor.callWhenRunning(stop_reactor, reactor)


def exit_cleanly_on_sigterm(reactor: Any) -> None:
    """Make SIGTERM stop the reactor, so that the process exits with code 0 after it has drained.

    twistd by itself raises the signal again at the end, which process managers count as a failure. Call this in the
    main thread once the reactor runs, because it replaces the reactor's SIGTERM handler.
    """
    signal.signal(signal.SIGTERM, lambda _number, _frame: reactor.callFromThread(stop_reactor, reactor))


def call_on_signal(reactor: Any, number: signal.Signals, action: Callable[[], object]) -> None:
    """Call `action` in the reactor's thread whenever the signal arrives. Must be called in the main thread."""
    signal.signal(number, lambda _number, _frame: reactor.callFromThread(action))


def stop_reactor(reactor: Any) -> None:
    """Stop the reactor; does nothing if it is stopping already."""
    with suppress(ReactorNotRunning):  # it is stopping already
        reactor.stop()


def _exit(code: int) -> None:
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.flush()
    os._exit(code)
