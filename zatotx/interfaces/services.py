"""Interfaces of services that the pipeline and the node use."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from typing import Any

from zope.interface import Attribute, Interface

from zatotx.model.message import Message, ServiceResult
from zatotx.rules.limits.concurrency_limit import ConcurrencyLimit


class IServiceEntry(Interface):
    """One service in one version of a file. The entry is looked up once per request."""

    name: str = Attribute('Unique in the cluster')
    cls: type = Attribute('The Service subclass')
    is_internal: bool = Attribute('Whether it is a zato.* service')
    is_active: bool = Attribute('Whether it may be invoked')
    file: str = Attribute("The file or package that contains it, e.g. 'crm.py'; '' = it is a zato.* service")
    version: int = Attribute('The version of that file')
    metadata: Any = Attribute('zatotx.service.metadata.ServiceMetadata: what the class declares')
    roles: frozenset[str] = Attribute('The caller must have one of them; empty = no role required')
    concurrency_limit: ConcurrencyLimit = Attribute(
        'Limits concurrent calls; one per service name, kept across versions'
    )
    stats: Any = Attribute('zatotx.metrics.counters.CallCounters: counters of this service, kept across versions')
    sampler: Any = Attribute('zatotx.service.call_recorder.ServiceCallRecorder, None if calls are not recorded')


class IServiceMap(Interface):
    """An immutable map of all services. A request uses the same map from start to end, so that it uses one version of
    every file, including calls of self.invoke."""

    def get(name: str) -> IServiceEntry | None:
        """Return the service with that name, or None."""

    def __iter__() -> Iterator[IServiceEntry]:
        """Iterate over all services."""


class IServiceMapHolder(Interface):
    """Holds the current IServiceMap, which is replaced atomically when services are deployed."""

    current: IServiceMap = Attribute('The map that new requests use')


class IServiceInvoker(Interface):
    """Invokes services."""

    def invoke(entry: IServiceEntry, services: IServiceMap, message: Message, payload: Any) -> Awaitable[ServiceResult]:
        """Read the input, run hooks and the handle method. Raises BadInput for invalid input, and what the handle
        method raises."""

    def explain_error(error: BaseException, entry: IServiceEntry, result: ServiceResult | None) -> BaseException:
        """Return the error to report to the author of the service: usually `error` itself, or a more helpful one.
        `result`: the result of the service, if there is one."""
