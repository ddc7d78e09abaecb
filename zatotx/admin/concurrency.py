"""Runs the calls of a page at the same time."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred, FirstError, gatherResults


async def run_together(*calls: Coroutine[Deferred[Any], Any, Any]) -> list[Any]:
    """Return the results of all calls, in order. Raises the first error, after it has cancelled the others."""
    started = [Deferred.fromCoroutine(call) for call in calls]
    try:
        results: list[Any] = await gatherResults(started, consumeErrors=True)
    except FirstError as error:
        for each in started:
            each.cancel()
        error.subFailure.raiseException()
    return results
