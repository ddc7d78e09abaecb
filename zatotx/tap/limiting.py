"""Puts together what keeps a server from taking more than it can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from zatotx.exchange.admission import Admission
from zatotx.metrics.sample import Row, Source
from zatotx.node.settings import Settings
from zatotx.rules.limits import Gate

MakeGate = Callable[[str, int], Gate]  # (name of what it is the gate of, limit)


def own_gate(name: str, limit: int) -> Gate:
    """A gate of this process alone."""
    return Gate(limit)


def admission(settings: Settings, reactor: Any, make_gate: MakeGate = own_gate) -> Admission:
    """The limits of node and channels."""
    return Admission(reactor, node=make_gate('node', settings.limits.in_flight), make_gate=make_gate)


def services(settings: Settings, make_gate: MakeGate = own_gate) -> Callable[[str], Gate]:
    """What makes the gate of a service."""
    return lambda name: make_gate(f'service {name}', settings.limits.service_in_flight)


def sources(*, admission: Admission, services: Any) -> list[Source]:
    """Where the figures of the limits are."""

    def node() -> Iterator[Row]:
        yield 'zatotx_node_in_flight', (), admission.node.inside
        yield 'zatotx_node_limit', (), admission.node.limit
        yield 'zatotx_node_refused', (), admission.node.refused

    def of_services() -> Iterator[Row]:
        for entry in services.current:
            yield 'zatotx_service_limit', (entry.name,), entry.gate.limit
            yield 'zatotx_service_refused', (entry.name,), entry.gate.refused

    def of_channels() -> Iterator[Row]:
        for name, entrance in admission.entrances():
            yield 'zatotx_channel_refused', (*name, 'queue_full'), entrance.overflowed
            yield 'zatotx_channel_refused', (*name, 'queue_late'), entrance.late
            yield 'zatotx_channel_queue_length', name, entrance.waiting

    return [node, of_services, of_channels]
