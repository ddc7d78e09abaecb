"""How a process of ours ends: 0 after SIGTERM, 1 with one sentence on stderr where it could not start."""

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
    """One line on the process's own stderr, which twistd's logging has not taken over."""
    stream = sys.__stderr__
    if stream is not None:
        stream.write(' '.join(sentence.split()) + '\n')
        stream.flush()


def error_sentence(error: BaseException) -> str:
    """What to tell a person about an error that has no sentence of its own."""
    if isinstance(error, OSError) and error.strerror:
        return f'{error.strerror}: {error.filename}' if error.filename else error.strerror
    return str(error) or type(error).__name__


def fail_start(reactor: Any, sentence: str, failure: Failure | None = None, *,
               tell: Callable[[str], None] | None = None) -> None:
    """End a process whose part could not start: the sentence on stderr, everything stopped in order, exit code 1.

    `failure` is given where the reason is not one of ours, so that the log has its traceback. `tell`
    takes the sentence instead of stderr.
    """
    if failure is not None:
        _log.failure('The part could not start', failure=failure)
    (tell or print_error)(sentence)
    # twistd has no way to ask for an exit code; after 'shutdown' nothing of ours is left to run.
    reactor.addSystemEventTrigger('after', 'shutdown', _leave, 1)
    reactor.callWhenRunning(stop, reactor)


def end_well_on_sigterm(reactor: Any) -> None:
    """From now on SIGTERM stops the reactor and the process exits with 0 after its drain.

    twistd on its own would end by the signal once more, which process managers count as a failure. To be called when
    the reactor runs, in the main thread: it replaces the reactor's own way with SIGTERM.
    """
    signal.signal(signal.SIGTERM, lambda _number, _frame: reactor.callFromThread(stop, reactor))


def on_signal(reactor: Any, number: signal.Signals, action: Callable[[], object]) -> None:
    """From now on that signal has `action` called in the reactor's thread. In the main thread."""
    signal.signal(number, lambda _number, _frame: reactor.callFromThread(action))


def stop(reactor: Any) -> None:
    """Have the reactor stop, whatever it does now."""
    with suppress(ReactorNotRunning):  # it stops already
        reactor.stop()


def _leave(code: int) -> None:
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.flush()
    os._exit(code)
