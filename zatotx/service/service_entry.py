"""The entry of a deployed service in the service store."""

from __future__ import annotations

from typing import Any

from attrs import field, frozen
from zope.interface import implementer

from zatotx.interfaces.services import IServiceEntry
from zatotx.rules.limits.concurrency_limit import ConcurrencyLimit
from zatotx.service.metadata import ServiceMetadata, describe_service
from zatotx.service.naming import service_name


@implementer(IServiceEntry)
@frozen(kw_only=True, eq=False)
class ServiceEntry:
    """One service of one version of a deployed file. The entry is immutable, and each new version of the file has a new
    entry."""

    name: str
    cls: type
    metadata: ServiceMetadata
    is_internal: bool = False
    is_active: bool = True
    roles: frozenset[str] = frozenset()
    file: str = ''  # 'crm.py', 'crm' for a package, '' for a service built into zatotx
    version: int = 0
    stats: Any = None
    sampler: Any = None  # ServiceCallRecorder; None = calls are not recorded
    concurrency_limit: ConcurrencyLimit = field(factory=ConcurrencyLimit)

    def __attrs_post_init__(self) -> None:
        if self.cls.__dict__.get('_zatotx_name') != self.name:  # so that self.invoke(Class) finds it
            self.cls._zatotx_name = self.name  # type: ignore[attr-defined]

    @classmethod
    def for_class(cls, service_class: type, **fields: Any) -> ServiceEntry:
        """Create the entry of a service class; values that are not given are derived from it. Raises
        InvalidServiceClass."""
        name = fields.pop('name', '') or service_name(service_class)
        return cls(name=name, cls=service_class, metadata=describe_service(service_class), **fields)
