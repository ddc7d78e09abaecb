"""Iterations of a reactor, for work that is divided between them."""

from __future__ import annotations

from twisted.internet.task import Clock


def run_iteration(clock: Clock) -> bool:
    """Run the calls that are due now, but none that they add, as a reactor does in one iteration: Clock.advance(0) runs
    both. Returns whether there was one."""
    due = [call for call in clock.calls if call.getTime() <= clock.seconds()]
    for call in due:
        clock.calls.remove(call)
        call.called = 1
        call.func(*call.args, **call.kw)
    return bool(due)
