"""Runs several calls of a page concurrently."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred, FirstError, gatherResults


async def run_together(*calls: Coroutine[Deferred[Any], Any, Any]) -> list[Any]:
    """Run all calls concurrently and return their results in order. If a call fails, cancel the others and raise its
    error."""
    started = [Deferred.fromCoroutine(call) for call in calls]
    try:
        results: list[Any] = await gatherResults(started, consumeErrors=True)
    except FirstError as error:
        for each in started:
            each.cancel()
        error.subFailure.raiseException()
    return results
