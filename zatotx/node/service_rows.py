"""The ODB rows of the internal services, which a node creates when it starts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zatotx.schema.snapshot import Operation, Snapshot


def missing_service_operations(services: Iterable[Any], snapshot: Snapshot) -> list[Operation]:
    """Return the operations that create the missing rows of internal services, so that each has an id for Zato's API.
    """
    return [
        Operation(
            action='create',
            type='service',
            name=entry.name,
            fields={'name': entry.name, 'impl_name': f'{entry.cls.__module__}.{entry.cls.__qualname__}',
                    'is_internal': True},
        )
        for entry in services
        if entry.is_internal and snapshot.find('service', entry.name) is None
    ]
