"""The circuit breaker settings that outgoing connections of all kinds share."""

from __future__ import annotations

from typing import Annotated

import msgspec

from zatotx.schema.meta import field


class CircuitBreakerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Circuit breaker settings, which determine when calls to a failing peer are suspended, and for how long."""

    failures: Annotated[
        int, field('Consecutive calls without a response, or over HTTP with status 5xx, that open the circuit', ge=1,
                   le=10_000)
    ] = 5
    reset: Annotated[
        float, field('Seconds until one call is let through to test the peer', gt=0, le=86_400)
    ] = 10.0
