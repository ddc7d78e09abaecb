"""`self.out`, alias `self.outgoing`: the outgoing connections, by kind and name."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from threading import get_ident
from typing import Any, NoReturn

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from zatotx.interfaces.outgoing import ICall, IOutgoing, not_found
from zatotx.model.errors import NotFound
from zatotx.schema.suggestion import did_you_mean
from zatotx.service.thread_calls import ThreadLender


@implementer(ICall)
class ServiceCall:
    """ICall of a run."""

    __slots__ = ('_run', 'cid', 'deadline', 'service', 'trace')

    def __init__(self, run: Any) -> None:
        inbound = run.inbound
        self._run = run
        self.cid: str = inbound.cid
        self.service: str = run.entry.name
        self.deadline: float = inbound.deadline
        self.trace: str = inbound.trace

    def result(self, begin: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        run = self._run
        if get_ident() == run.invoker.io_thread:
            return begin()

        async def settle(lender: ThreadLender) -> Any:
            return await begin()

        return run.invoker.threads.wait(settle, run.hop, run.inbound.deadline)


NOT_INSTALLED = 'connections of kind {} are not installed here'


class OutgoingNamespace:
    """The connections of a kind, found when they are first asked for."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __get__(self, outgoing: Outgoing, owner: type) -> Any:
        kind, run = self._kind, outgoing._run
        call = ServiceCall(run)
        connections = getattr(run.invoker.node, 'outgoing', None)
        found = None if connections is None else connections.kind(kind, call)
        if found is None:
            why = NOT_INSTALLED.format(kind) if connections is None else connections.why_not(kind)
            found = NoConnections(kind, why, call.cid)
        outgoing.__dict__[kind] = found
        return found


class Outgoing:
    """The outgoing connections as one call sees them: `self.out.rest['CRM']`, `self.outgoing.sql.get('CRM')`.

    A connection that is not there raises NotFound naming kind and name.
    """

    rest = OutgoingNamespace('rest')  # a look in vain for an attribute costs as much as all else here
    soap = OutgoingNamespace('soap')

    def __init__(self, service: Any) -> None:
        self._run = service._zatotx

    def __getattr__(self, kind: str) -> Any:
        if kind.startswith('_'):
            raise AttributeError(kind)
        return OutgoingNamespace(kind).__get__(self, Outgoing)


class NoConnections:
    """A kind that this node does not have."""

    def __init__(self, kind: str, why: str, cid: str) -> None:
        self._kind = kind
        self._why = why
        self._cid = cid

    def __getitem__(self, name: str) -> NoReturn:
        raise self._not_found(name)

    get = __getitem__

    def send(self, message: object, name: str, *args: object, **options: object) -> NoReturn:
        """Zato's form: the name follows the message."""
        raise self._not_found(name)

    def _not_found(self, name: str) -> NotFound:
        return NotFound(self._cid, f'self.out.{self._kind}[{name!r}]: {self._why}')


@implementer(IOutgoing)
@define(eq=False)
class Outgoings:
    """The connections of a node: kind -> what gives its connections for one call; and type -> what asks its peers."""

    kinds: Mapping[str, Callable[[ICall], Any]] = field(factory=dict)
    pings: Mapping[str, Callable[[str, str], Deferred[str]]] = field(factory=dict)
    disabled: Mapping[str, str] = field(factory=dict)  # kind that is there and lacks a library -> what to install

    def kind(self, name: str, call: ICall) -> Any:
        make = self.kinds.get(name)
        return None if make is None else make(call)

    def why_not(self, name: str) -> str:
        why = NOT_INSTALLED.format(name)
        if name in self.disabled:
            return f'{why}: {self.disabled[name]}'
        near = did_you_mean(name, self.kinds)
        return why + (near or f': there are {", ".join(sorted(self.kinds)) or "none at all"}')

    def ping(self, object_type: str, name: str) -> Deferred[str]:
        ask = self.pings.get(object_type)
        return fail(not_found(object_type, name, None)) if ask is None else ask(object_type, name)
