"""The reactor of the test run, and doubles of it, as zatotx's parameters declare it."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet import reactor as running_reactor

from zatotx.interfaces.reactor import IReactor

reactor = cast(IReactor, running_reactor)


def as_reactor(double: Any) -> IReactor:
    """Return a double (a Clock, a MemoryReactor) for code that uses no more of the reactor than the double has."""
    return cast(IReactor, double)
