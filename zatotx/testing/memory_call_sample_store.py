"""An in-memory store of recorded calls of services."""

from __future__ import annotations

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from zatotx.interfaces.call_samples import MAX_SLOW, ICallSampleStore
from zatotx.model.call_sample import CallSample


@implementer(ICallSampleStore)
@define(eq=False)
class MemoryCallSampleStore:
    """An in-memory ICallSampleStore. If `problem` is set, the methods that record calls raise it."""

    problem: Exception | None = None
    _samples: dict[str, CallSample] = field(factory=dict)
    _slow: dict[str, list[CallSample]] = field(factory=dict)

    def record_sample(self, service: str, sample: CallSample) -> Deferred[None]:
        if self.problem is not None:
            return fail(self.problem)
        self._samples[service] = sample
        return succeed(None)

    def record_slow(self, service: str, sample: CallSample) -> Deferred[None]:
        if self.problem is not None:
            return fail(self.problem)
        self._slow[service] = [sample, *self._slow.get(service, ())][:MAX_SLOW]
        return succeed(None)

    def sample(self, service: str) -> Deferred[CallSample | None]:
        return succeed(self._samples.get(service))

    def slow(self, service: str) -> Deferred[list[CallSample]]:
        return succeed(list(self._slow.get(service, ())))
