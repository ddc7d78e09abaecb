"""Services as the exchange and the node see them."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from typing import Any

from zope.interface import Attribute, Interface

from zatotx.model.message import Message, Outcome
from zatotx.rules.limits.limits import ConcurrencyLimit


class IServiceEntry(Interface):
    """One service of one version of one file: what is looked up once and kept for the whole request."""

    name: str = Attribute('Unique in the cluster')
    cls: type = Attribute('The Service subclass')
    is_internal: bool = Attribute('One of zato.*')
    is_active: bool = Attribute('Switched on')
    roles: frozenset[str] = Attribute('Of which a caller must have one; none = whoever its channel lets in')
    gate: ConcurrencyLimit = Attribute('Lets in so many calls at once; one a name, kept across versions')
    stats: Any = Attribute('zatotx.metrics.counters.CallSlots: plain counters of this service, kept across versions')


class IServices(Interface):
    """An immutable map of all services at one moment. A request holds one from start to end, so it sees one version
    of every file, through self.invoke too."""

    def get(name: str) -> IServiceEntry | None:
        """The service of that name, or None."""

    def __iter__() -> Iterator[IServiceEntry]:
        """All of them."""


class IServiceStore(Interface):
    """Holds the current IServices and swaps it whole."""

    current: IServices = Attribute('What new requests get')


class IInvoker(Interface):
    """Runs one service."""

    def invoke(entry: IServiceEntry, services: IServices, inbound: Message, payload: Any) -> Awaitable[Outcome]:
        """Input, hooks and handle. Raises what handle raised, BadInput for bad input."""

    def explained(error: BaseException, entry: IServiceEntry, outcome: Outcome | None) -> BaseException:
        """The error that tells the author of the service best what went wrong: mostly the one given. `outcome`: what
        the service answered, where it came to that."""
