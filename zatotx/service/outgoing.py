"""Implements `self.out` and its alias `self.outgoing`, which give access to outgoing connections by kind and name."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from threading import get_ident
from typing import Any, NoReturn

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from zatotx.interfaces.outgoing import IOutgoingConnections, IServiceCall, connection_not_found
from zatotx.model.errors import NotFound
from zatotx.schema.name_suggestion import suggest_similar_name
from zatotx.service.thread_calls import ThreadLender


@implementer(IServiceCall)
class OutgoingCall:
    """Implements IServiceCall for a service invocation."""

    __slots__ = ('_invocation', 'cid', 'deadline', 'service', 'trace')

    def __init__(self, invocation: Any) -> None:
        message = invocation.message
        self._invocation = invocation
        self.cid: str = message.cid
        self.service: str = invocation.entry.name
        self.deadline: float = message.deadline
        self.trace: str = message.trace

    @property
    def request(self) -> object:
        """See IServiceCall: the first invocation of the chain."""
        invocation = self._invocation
        while invocation.parent is not None:
            invocation = invocation.parent
        return invocation

    def cancel_with_request(self, deferred: Deferred[Any]) -> None:
        """See IServiceCall."""
        thread_call = self._invocation.thread_call
        if thread_call is None:
            return
        if thread_call.cancelled:
            deferred.cancel()
            return
        waits_for = thread_call.awaited
        waits_for.add(deferred)

        def forget(result: Any) -> Any:
            waits_for.discard(deferred)
            return result

        deferred.addBoth(forget)

    def run(self, begin: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run a coroutine for the service: awaitable on the reactor, blocking in a thread."""
        invocation = self._invocation
        if get_ident() == invocation.invoker.io_thread:
            return begin()

        async def settle(lender: ThreadLender) -> Any:
            return await begin()

        return invocation.invoker.threads.run_on_reactor(settle, invocation.thread_call, invocation.message.deadline)


NOT_INSTALLED = 'connections of kind {} are not installed here'


class OutgoingNamespace:
    """A descriptor for the connections of one kind, which are looked up when they are first accessed."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __get__(self, outgoing: Outgoing, owner: type) -> Any:
        kind, invocation = self._kind, outgoing._invocation
        call = OutgoingCall(invocation)
        connections = getattr(invocation.invoker.node, 'outgoing', None)
        namespace = None if connections is None else connections.namespace(kind, call)
        if namespace is None:
            reason = NOT_INSTALLED.format(kind) if connections is None else connections.unavailable_reason(kind)
            namespace = UnavailableKind(kind, reason, call.cid)
        outgoing.__dict__[kind] = namespace
        return namespace


class Outgoing:
    """Provides the outgoing connections as attributes for one service invocation, such as `self.out.rest['CRM']` and
    `self.outgoing.sql.get('CRM')`.

    A connection that does not exist raises NotFound naming kind and name.
    """

    rest = OutgoingNamespace('rest')  # declared for speed: a failed attribute lookup costs as much as the rest
    soap = OutgoingNamespace('soap')

    def __init__(self, service: Any) -> None:
        self._invocation = service._zatotx

    def __getattr__(self, kind: str) -> Any:
        if kind.startswith('_'):
            raise AttributeError(kind)
        return OutgoingNamespace(kind).__get__(self, Outgoing)


class UnavailableKind:
    """A placeholder for the connections of a kind that is not available on this node. Every access raises NotFound."""

    def __init__(self, kind: str, reason: str, cid: str) -> None:
        self._kind = kind
        self._reason = reason
        self._cid = cid

    def __getitem__(self, name: str) -> NoReturn:
        raise self._not_found(name)

    get = __getitem__

    def send(self, message: object, name: str, *args: object, **options: object) -> NoReturn:
        """Raise NotFound. In Zato's form of the call, the name follows the message."""
        raise self._not_found(name)

    def _not_found(self, name: str) -> NotFound:
        return NotFound(self._cid, f'self.out.{self._kind}[{name!r}]: {self._reason}')


@implementer(IOutgoingConnections)
@define(eq=False)
class ConnectionNamespaces:
    """Implements IOutgoingConnections: the outgoing connections of a node.

    `kinds` maps a kind to the function that returns its connections for one call, `pings` an object type to the
    function that pings a connection.
    """

    kinds: Mapping[str, Callable[[IServiceCall], Any]] = field(factory=dict)
    pings: Mapping[str, Callable[[str, str], Deferred[str]]] = field(factory=dict)
    disabled: Mapping[str, str] = field(factory=dict)  # kind with a missing library -> what to install

    def namespace(self, name: str, call: IServiceCall) -> Any:
        """Return the connections of a kind for one call, or None."""
        make = self.kinds.get(name)
        return None if make is None else make(call)

    def unavailable_reason(self, name: str) -> str:
        """Explain why a kind is not available."""
        reason = NOT_INSTALLED.format(name)
        if name in self.disabled:
            return f'{reason}: {self.disabled[name]}'
        suggestion = suggest_similar_name(name, self.kinds)
        return reason + (suggestion or f': there are {", ".join(sorted(self.kinds)) or "none at all"}')

    def ping(self, object_type: str, name: str) -> Deferred[str]:
        """Ping the connection of that type and name; fires with a description of the answer."""
        ping_connection = self.pings.get(object_type)
        if ping_connection is None:
            return fail(connection_not_found(object_type, name, None))
        return ping_connection(object_type, name)
