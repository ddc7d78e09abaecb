"""Manages the outgoing connections of one kind in a node. Connections are built from the active configuration, and are
replaced individually when their configuration changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred, fail, gatherResults
from twisted.logger import Logger
from zope.interface import implementer

from zatotx.connectors.connection_registry import ConnectionRegistry, UnavailableConnection
from zatotx.connectors.guaranteed_delivery import (
    DELIVER_SERVICE,
    GuaranteedNamespace,
    MakeStoredResult,
    PrepareStored,
    is_guaranteed,
    message_id_of,
    store_call_unchanged,
)
from zatotx.connectors.lazy_imports import import_modules_now, modules_to_import
from zatotx.connectors.ping_call import PingCall
from zatotx.interfaces.config import PreparedConfigChange, commit_when_prepared
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.interfaces.outgoing import IOutgoingKind, IServiceCall, connection_not_found
from zatotx.model.cid import new_cid
from zatotx.model.errors import ServiceError
from zatotx.schema.snapshot import Snapshot, StoredObject
from zatotx.system.time_slices import TimeSlices

CLOSE_TIMEOUT = 2.0  # seconds that connections may take to close when the node stops


class OutgoingConnection(Protocol):
    """The interface of a connection that a kind builds for each configured object."""

    async def ping(self, call: IServiceCall) -> str:
        """Ask the peer for a sign of life: what was asked and answered, for people. Raises as a call would."""

    def retire(self) -> None:
        """Take no further calls: another connection has replaced this one. Calls under way end here."""

    def end(self) -> Deferred[None]:
        """Take no further calls and close. Fires when the calls under way are over."""

    def findings(self) -> Iterator[str]:
        """What keeps the connection from working now, a sentence each."""


C = TypeVar('C', bound=OutgoingConnection)
Sources = tuple[StoredObject | None, ...]  # a connection's own object, then the objects that it refers to


def no_references(stored: StoredObject, snapshot: Snapshot) -> Sources:
    """Return an empty sequence, for types whose objects refer to no other objects."""
    return ()


@frozen(kw_only=True)
class ConnectionType(Generic[C]):
    """Defines how connections are built from the objects of one type, and how services access them.

    `build` is called with the object, the objects that it refers to, the title for messages and the meter. It raises
    ValueError or ServiceError, with the rest of the sentence '<title> cannot be used: …', for a configuration that
    this machine cannot use.
    """

    object_type: str  # 'outgoing_rest'
    kind: str  # what messages and metrics call it: 'rest'
    names: tuple[str, ...]  # of `self.out.<name>`
    namespace: Callable[[ConnectionRegistry[C], IServiceCall], Any]  # what `self.out.<name>` is
    build: Callable[[StoredObject, Sources, str, Any], C]
    references: Callable[[StoredObject, Snapshot], Sources] = no_references  # a change of these rebuilds the connection
    sends: tuple[str, ...] = ()  # methods that `delivery: guaranteed` stores; () = the type does not have that
    prepare_stored: PrepareStored = store_call_unchanged  # of such a call
    make_stored_result: MakeStoredResult = message_id_of  # what such a call returns
    delivery_namespace: Callable[[ConnectionRegistry[C], IServiceCall], Any] | None = None  # makes such calls
    modules: tuple[str, ...] = ()  # that take long to import: a thread does so before the first connection is built


@frozen
class _Built:
    sources: Sources
    result: OutgoingConnection | UnavailableConnection


_ByName = Mapping[tuple[str, str], _Built]  # by object type and name


@frozen
class _Table:
    """The connections of one object type in a configuration."""

    object_type: str
    usable: Mapping[str, OutgoingConnection]
    others: Mapping[str, UnavailableConnection | None]


@implementer(IOutgoingKind)
class OutgoingConnections:
    """Implements IOutgoingKind for any number of connection types.

    A connection whose object and references are unchanged is kept, with its sockets, circuit breaker and tokens. The
    others are built beside the old ones, put in force by one assignment per type, and the old ones are retired.
    """

    _log = Logger()

    def __init__(self, context: OutgoingContext, types: Sequence[ConnectionType[Any]]) -> None:
        self._reactor = context.reactor
        self._offload = context.run_in_thread
        self._types = types
        self._meters = {connection_type.kind: context.meters(connection_type.kind) for connection_type in types}
        self._built: _ByName = {}
        self._guaranteed_types: frozenset[str] = frozenset()  # with a connection whose delivery is guaranteed
        self.registries = {
            connection_type.object_type: ConnectionRegistry[Any](connection_type.kind) for connection_type in types
        }
        self.pingable_types: Sequence[str] = tuple(self.registries)
        self._work = context.work
        self.namespaces: Mapping[str, Callable[[IServiceCall], Any]] = {
            name: partial(self._namespace, connection_type, name) if connection_type.sends
            else partial(connection_type.namespace, self.registries[connection_type.object_type])
            for connection_type in types for name in connection_type.names
        }

    def prepare(self, snapshot: Snapshot) -> Deferred[PreparedConfigChange]:
        """See IOutgoingKind. Connections are built here; `commit` puts them in force and retires those they replace."""
        return Deferred.fromCoroutine(self._prepare(snapshot))

    async def _prepare(self, snapshot: Snapshot) -> PreparedConfigChange:
        if modules := modules_to_import(self._types, snapshot):
            await self._offload(import_modules_now, modules)
        built: dict[tuple[str, str], _Built] = {}
        slices = TimeSlices(self._reactor)
        discard = partial(self._retire_all_but, built, self._built)
        try:
            tables = [await self._table(connection_type, snapshot, built, slices) for connection_type in self._types]
        except BaseException:  # the node stops meanwhile
            discard()
            raise
        return PreparedConfigChange(partial(self._commit, tables, built), discard)

    def apply(self, snapshot: Snapshot) -> Deferred[None]:
        """See IOutgoingKind."""
        return commit_when_prepared(self.prepare(snapshot))

    def ping(self, object_type: str, name: str) -> Deferred[str]:
        """See IOutgoing.ping."""
        registry = self.registries.get(object_type)
        if registry is None:
            return fail(connection_not_found(object_type, name, None))
        cid = new_cid()
        try:
            connection = registry.find(name, cid)
        except ServiceError as error:
            return fail(error)
        return Deferred.fromCoroutine(connection.ping(PingCall(cid)))

    def stop(self) -> Deferred[None]:
        """See IOutgoingKind."""
        ending = [connection.end() for registry in self.registries.values() for connection in registry]
        ended: Deferred[Any] = gatherResults(ending, consumeErrors=True)  # those that the timeout cancels
        ended.addTimeout(CLOSE_TIMEOUT, self._reactor, lambda result, seconds: None)
        return ended.addCallback(lambda _: None)

    def findings(self) -> Iterator[str]:
        """What keeps connections from working now, a sentence each."""
        for registry in self.registries.values():
            for connection in registry:
                yield from connection.findings()
            for unavailable in registry.unavailable():
                yield unavailable.sentence

    def references(self) -> Iterator[StoredObject]:
        """The objects that the connections in force refer to."""
        return (stored for built in self._built.values() for stored in built.sources[1:] if stored is not None)

    def _namespace(self, connection_type: ConnectionType[Any], name: str, call: IServiceCall) -> Any:
        """`self.out.<name>` of one call, for a type whose connections may store what they send."""
        registry, is_delivering = self.registries[connection_type.object_type], call.service == DELIVER_SERVICE
        if is_delivering and connection_type.delivery_namespace is not None:
            return connection_type.delivery_namespace(registry, call)
        namespace = connection_type.namespace(registry, call)
        if connection_type.object_type not in self._guaranteed_types or is_delivering:
            return namespace
        return GuaranteedNamespace(
            kind=name,
            namespace=namespace,
            sends=connection_type.sends,
            guaranteed=partial(self._guaranteed_value, connection_type.object_type),
            prepare=connection_type.prepare_stored,
            make_result=connection_type.make_stored_result,
            work=self._work,
            call=call,
        )

    def _guaranteed_value(self, object_type: str, name: str) -> Any:
        built = self._built.get((object_type, name))
        stored = None if built is None else built.sources[0]
        return stored.value if stored is not None and is_guaranteed(stored.value) else None

    async def _table(
        self, connection_type: ConnectionType[Any], snapshot: Snapshot, built: dict[tuple[str, str], _Built],
        slices: TimeSlices,
    ) -> _Table:
        usable: dict[str, OutgoingConnection] = {}
        others: dict[str, UnavailableConnection | None] = {}
        for stored in snapshot.objects_of_types(connection_type.object_type):
            if slices.is_over():
                await slices.next()
            if not stored.value.is_active:
                others[stored.name] = None
                continue
            existing = built[connection_type.object_type, stored.name] = self._built_for(
                connection_type, stored, snapshot
            )
            if isinstance(existing.result, UnavailableConnection):
                others[stored.name] = existing.result
            else:
                usable[stored.name] = existing.result
        return _Table(connection_type.object_type, usable, others)

    def _commit(self, tables: Sequence[_Table], built: _ByName) -> None:
        before, self._built = self._built, built
        self._guaranteed_types = frozenset(object_type for object_type, name in built
                                           if self._guaranteed_value(object_type, name) is not None)  # fmt: skip
        names: dict[str, list[str]] = {}  # by kind, which types may share
        for connection_type, table in zip(self._types, tables, strict=True):
            names.setdefault(connection_type.kind, []).extend([*table.usable, *table.others])
            self.registries[table.object_type].replace(table.usable, table.others)
        for kind, existing in names.items():
            self._meters[kind].retain(existing)
        self._retire_all_but(before, built)

    def _retire_all_but(self, retired: _ByName, kept: _ByName) -> None:
        keep = {id(built.result) for built in kept.values()}
        for built in retired.values():
            if id(built.result) not in keep and not isinstance(built.result, UnavailableConnection):
                built.result.retire()

    def _built_for(self, connection_type: ConnectionType[Any], stored: StoredObject, snapshot: Snapshot) -> _Built:
        sources: Sources = (stored, *connection_type.references(stored, snapshot))
        existing = self._built.get((connection_type.object_type, stored.name))
        if existing is None or not is_same_configuration(existing.sources, sources):
            return _Built(sources, self._build(connection_type, sources))
        return existing

    def _build(
        self, connection_type: ConnectionType[Any], sources: Sources
    ) -> OutgoingConnection | UnavailableConnection:
        stored = sources[0]
        assert stored is not None
        title = f'Outgoing connection {stored.name} ({connection_type.kind})'
        try:
            built: OutgoingConnection = connection_type.build(
                stored, sources[1:], title, self._meters[connection_type.kind].get(stored.name)
            )
        except (ValueError, ServiceError) as error:
            unavailable = UnavailableConnection(title, str(error))
            self._log.error('{sentence}', sentence=unavailable.sentence)
            return unavailable
        return built


def is_same_configuration(sources: Sources, other: Sources) -> bool:
    """Return whether two stored objects configure the same connection, regardless of their IDs and revisions."""
    return len(sources) == len(other) and all(
        (a is None and b is None) or (a is not None and b is not None and a.type == b.type and a.value == b.value)
        for a, b in zip(sources, other, strict=True)
    )
