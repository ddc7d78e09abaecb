"""What any object type of channels may say about the delivery of its messages."""

from __future__ import annotations

from typing import Annotated

import msgspec

from zatotx.schema.meta import field


class DeliveryRetry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Retries of messages whose service failed: see rules.resilience.delivery.DeliveryPolicy."""

    attempts: Annotated[int, field('Attempts in all', ge=1, le=1000)] = 3
    backoff: Annotated[float, field('Seconds of the longest first delay; it doubles', gt=0, le=3600)] = 1.0
    max_delay: Annotated[float, field('Seconds of the longest delay', gt=0, le=86400)] = 60.0
