"""Schema fields for message delivery: `retry`, `dead_letter` and `idempotent` of channels, and `delivery` of outgoing
connections.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from zatotx.schema.meta import field
from zatotx.schema.secrets import ConfigObject

_KEY = r'^(message|body|header:.*\S.*|json:/.*)$'


class DeliveryRetry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings for retrying messages whose service failed (see rules.resilience.inbound_retry.InboundRetryPolicy)."""

    attempts: Annotated[int, field('Attempts in all', ge=1, le=1000)] = 3
    backoff: Annotated[float, field('Seconds of the longest first delay; it doubles', gt=0, le=3600)] = 1.0
    max_delay: Annotated[float, field('Seconds of the longest delay', gt=0, le=86400)] = 60.0


class Idempotency(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings for recognizing duplicate messages (see rules.resilience.idempotency_key)."""

    key: Annotated[
        str, field("Where the key is: 'message' (its id at the peer), 'body', 'header:NAME' or 'json:/pointer'",
                   pattern=_KEY, max_length=1000)
    ] = 'message'  # fmt: skip
    ttl: Annotated[float, field('Seconds for which processed messages are remembered', ge=1, le=31_536_000)] = 86_400.0


DIRECT, GUARANTEED = 'direct', 'guaranteed'


class OutgoingDelivery(ConfigObject, frozen=True, kw_only=True):
    """Base class of the object types of outgoing connections that support guaranteed delivery (see
    connectors.guaranteed_delivery)."""

    delivery: Annotated[
        str, field('direct: a call sends at once; guaranteed: it stores what is sent, and the cluster sends it until '
                   'the peer takes it', choices=(DIRECT, GUARANTEED))
    ] = DIRECT  # fmt: skip


class MessageChannelBase(ConfigObject, frozen=True, kw_only=True):
    """Base class of the object types of channels that receive messages. It defines the fields for failed messages and
    for duplicates. A kind whose clients wait for replies may override the default of `dead_letter`."""

    retry: Annotated[DeliveryRetry | None, field('Retries of failed messages; none = one attempt')] = None
    dead_letter: Annotated[bool, field('Whether messages that failed for the last time become dead letters')] = True
    idempotent: Annotated[Idempotency | None, field('Drops messages that were processed; none = all run')] = None
