"""Interfaces of recorded calls, which are the last sample and the slow responses of each service."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from zope.interface import Interface

from zatotx.model.call_sample import CallSample

MAX_SLOW = 100  # slow responses that are kept per service, the newest ones
KEPT = 30 * 86_400  # seconds after which the records of a service expire if nothing is added


class ICallSampleStore(Interface):
    """Stores recorded calls for the whole cluster. They are as durable as the data in Redis. The methods fail with the
    errors of ICommands.execute."""

    def record_sample(service: str, sample: CallSample) -> Deferred[None]:
        """Store a sample, in place of the one before."""

    def record_slow(service: str, sample: CallSample) -> Deferred[None]:
        """Add a slow response."""

    def sample(service: str) -> Deferred[CallSample | None]:
        """Fires with the last sample, or None."""

    def slow(service: str) -> Deferred[list[CallSample]]:
        """Fires with the slow responses, the newest first."""
