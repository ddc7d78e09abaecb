"""The built-in zato.* services, with the service names, request fields and response elements of Zato."""

from __future__ import annotations

from zatotx.api import (
    admin_sessions,
    cache,
    call_samples,
    crud,
    data_dictionary,
    dead_letters,
    deployment,
    enmasse,
    guaranteed_delivery,
    health,
    history,
    invoke,
    kvdb,
    node_control,
    openapi,
    scheduler,
    schema,
    selection,
    servers,
    service_description,
    services,
    statistics,
    statistics_jobs,
    statistics_reports,
    undo,
    wsdl,
)
from zatotx.schema.type_registry import ObjectTypeRegistry
from zatotx.service.service_entry import ServiceEntry

_MODULES = (
    health, admin_sessions, cache, call_samples, deployment, crud, data_dictionary, dead_letters, history, invoke,
    kvdb, enmasse, node_control, openapi, guaranteed_delivery, scheduler, schema, selection, servers,
    service_description, services, statistics, statistics_jobs, statistics_reports, undo, wsdl,
)  # fmt: skip


def builtin_service_entries(types: ObjectTypeRegistry) -> tuple[ServiceEntry, ...]:
    """Return the entries of all built-in services: those defined in this package and those derived from the object
    types."""
    defined = [ServiceEntry.for_class(cls, is_internal=True) for module in _MODULES for cls in module.SERVICES]
    return (*defined, *crud.derive_services(types))
