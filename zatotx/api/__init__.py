"""The built-in zato.* services, with the service names, request fields and response elements of Zato."""

from __future__ import annotations

from zatotx.api import (
    admin_sessions,
    cache,
    call_samples,
    configuration_history,
    crud,
    current_statistics,
    data_dictionary,
    dead_letters,
    deployment,
    enmasse,
    health,
    invoke,
    node_control,
    object_type_descriptions,
    openapi,
    remote_redis_command,
    scheduler,
    search_and_yaml_export,
    servers,
    service_io_and_source,
    services,
    statistics_jobs,
    statistics_reports,
    stored_call_delivery,
    undo_changes,
    wsdl,
)
from zatotx.schema.type_registry import ObjectTypeRegistry
from zatotx.service.service_entry import ServiceEntry

_MODULES = (
    health,
    admin_sessions,
    cache,
    call_samples,
    deployment,
    crud,
    data_dictionary,
    dead_letters,
    configuration_history,
    invoke,
    remote_redis_command,
    enmasse,
    node_control,
    openapi,
    stored_call_delivery,
    scheduler,
    object_type_descriptions,
    search_and_yaml_export,
    servers,
    service_io_and_source,
    services,
    current_statistics,
    statistics_jobs,
    statistics_reports,
    undo_changes,
    wsdl,
)


def builtin_service_entries(types: ObjectTypeRegistry) -> tuple[ServiceEntry, ...]:
    """Return the entries of all built-in services: those defined in this package and those derived from the object
    types."""
    defined = [ServiceEntry.for_class(cls, is_internal=True) for module in _MODULES for cls in module.SERVICES]
    return (*defined, *crud.derive_services(types))
