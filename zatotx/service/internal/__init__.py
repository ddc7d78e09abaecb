"""The broker's own services, zato.*: Zato's names, request fields and response elements (feature map 8.7, 8.8)."""

from __future__ import annotations

from zatotx.schema.types import ObjectTypes
from zatotx.service.entry import ServiceEntry
from zatotx.service.internal import (
    basics,
    code,
    crud,
    docs,
    history,
    invoking,
    log_levels,
    massive,
    openapi,
    servers,
    services,
    wsdl,
)

_MODULES = (basics, code, crud, docs, history, invoking, log_levels, massive, openapi, servers, services, wsdl)


def internal_entries(types: ObjectTypes) -> tuple[ServiceEntry, ...]:
    """All of them: those written here, and those derived from the object types a node knows."""
    written = [ServiceEntry.of(cls, is_internal=True) for module in _MODULES for cls in module.SERVICES]
    return (*written, *crud.derived(types))
