"""What a check is, and what it finds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from zatotx.cli.environment.layout import Component, Environment

BROKEN, WARNING = 'broken', 'warning'
ENVIRONMENT, EVERY_PART = 'ENVIRONMENT', 'EVERY PART'  # beside SERVER and REDIS: whom a check is of
PATIENCE = 3.0  # seconds that one question over the network may take


class Finding(NamedTuple):
    """One thing that is not as it should be."""

    severity: str  # BROKEN, WARNING
    where: str  # 'server1', 'environment'
    subject: str  # of its check
    text: str  # one sentence: what, where and what to do


class CheckContext:
    """What all checks of one run look at. What several of them ask is asked once."""

    def __init__(self, place: Environment, now: Callable[[], float] = time.time) -> None:
        """`now` gives Unix time."""
        self.place = place
        self.now = now
        self._answers: dict[Any, tuple[bool, Any]] = {}
        self._locks: dict[Any, threading.Lock] = {}
        self._guard = threading.Lock()

    def once(self, ask: Callable[[Component], Any], part: Component) -> Any:
        """`ask(part)`, asked once a run; what it raises is raised again to whoever asks the same."""
        key = ask, part.path
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._answers:
                try:
                    self._answers[key] = True, ask(part)
                except Exception as error:
                    self._answers[key] = False, error
        good, answer = self._answers[key]
        if not good:
            raise answer
        return answer


Look = Callable[[CheckContext, Component], Iterable[tuple[str, str]]]  # (severity, sentence) of each finding


class Check(NamedTuple):
    """One check."""

    subject: str  # in one or two words, as findings name it
    says: str  # for the documentation: what makes it find something
    of: str  # ENVIRONMENT, EVERY_PART, SERVER or REDIS
    look: Look
    asks: bool = False  # it asks other processes or machines: in a thread of its own


def environment(place: Environment) -> Component:
    """The environment as a check of it gets it: a part without a process."""
    return Component(ENVIRONMENT, Path(place.environment))
