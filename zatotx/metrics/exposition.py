"""Answers to whoever asks for the metrics: however many ask at once, one text is made at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from threading import Lock
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from zatotx.metrics.prometheus_text import render
from zatotx.metrics.snapshot import Sample, Source, add, take_snapshot


def no_peers() -> Deferred[list[Sample]]:
    """The other workers of a node that has one."""
    return succeed([])


def ignore_result(sample: Sample) -> None:
    """Nobody will ask for it again."""


class MetricsExposition:
    """Who comes while a text is being made gets the next one, together with all who came meanwhile: no figure in it is
    older than the question. In the reactor's thread."""

    def __init__(self, sources: Sequence[Source], offload: Callable[..., Deferred[Any]]) -> None:
        """`sources`: this process's figures. `offload` runs (function, *args) in a thread."""
        self.others: Callable[[], Deferred[list[Sample]]] = no_peers  # samples of the node's other workers
        self.keep: Callable[[Sample], None] = (
            ignore_result  # called in the thread with each sample, before anybody sees it
        )
        self._sources = sources
        self._offload = offload
        self._making = False
        self._one = Lock()
        self._waiting: list[Deferred[bytes]] = []

    def sample(self) -> Deferred[Sample]:
        """This process's figures now."""
        return self._offload(self._sample)

    def _sample(self) -> Sample:
        with self._one:  # a scrape and another worker may ask at once: what is kept must not get older
            found = take_snapshot(self._sources)
            self.keep(found)
        return found

    def text(self) -> Deferred[bytes]:
        """The figures of all workers in Prometheus' text form."""
        waiting: Deferred[bytes] = Deferred(self._forget)
        self._waiting.append(waiting)
        if not self._making:
            self._make()
        return waiting

    def _make(self) -> None:
        self._making = True
        waiting, self._waiting = self._waiting, []
        made = Deferred.fromCoroutine(self._made())
        made.addBoth(self._give, waiting)

    async def _made(self) -> bytes:
        asked = self.others()  # while they look, we do
        own = await self.sample()
        text: bytes = await self._offload(_together, [own, *await asked])
        return text

    def _give(self, result: bytes | Failure, waiting: list[Deferred[bytes]]) -> None:
        self._making = False
        if self._waiting:
            self._make()
        for one in waiting:
            if not one.called:  # else it was cancelled
                one.callback(result) if isinstance(result, bytes) else one.errback(result)

    def _forget(self, waiting: Deferred[bytes]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)


def _together(samples: Sequence[Sample]) -> bytes:
    return render(reduce(add, samples))
