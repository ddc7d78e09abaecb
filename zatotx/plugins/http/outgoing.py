"""The outgoing HTTP connections of a node: made of the configuration in force, and swapped one by one with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, fail, gatherResults, succeed
from twisted.logger import Logger
from zope.interface import implementer

from zatotx.interfaces.config import Prepared
from zatotx.interfaces.fetcher import Fetched, IFetcher
from zatotx.interfaces.kind import OutgoingContext
from zatotx.interfaces.outgoing import ICall, IOutgoingKind, not_found
from zatotx.model.cid import new_cid
from zatotx.model.errors import ServiceError
from zatotx.plugins.http.client.factory import ClientEnvironment
from zatotx.plugins.http.rest.connection import OutgoingConnection
from zatotx.plugins.http.rest.credentials import NOBODY, CredentialsContext, OutgoingCredentials, credentials_of
from zatotx.plugins.http.rest.facade import RestNamespace
from zatotx.plugins.http.rest.factory import REST, BuildContext, ConnectionType, build
from zatotx.plugins.http.rest.fetcher import HttpFetcher
from zatotx.connectors.ping import PingCall
from zatotx.plugins.http.rest.registry import ConnectionRegistry, UnavailableConnection
from zatotx.plugins.http.rest.token_cache import TokenCache
from zatotx.plugins.http.soap.outgoing.facade import SoapNamespace
from zatotx.plugins.http.soap.outgoing.factory import SOAP
from zatotx.schema.security import SECURITY_TYPES
from zatotx.schema.snapshot import Snapshot, Stored

SECURITY = 'security'  # the section of security definitions

_DEFINITIONS = tuple(one.key for one in SECURITY_TYPES if one.section == SECURITY)
_GRACE = 2.0  # seconds that connections may take to close when the node ends


@frozen(kw_only=True)
class OutgoingFacade:
    """One type of connections as services have it."""

    object_type: str
    kind: str  # what sentences and metrics call it
    names: tuple[str, ...]  # of `self.out.<name>`
    door: Callable[[ConnectionRegistry, ICall], Any]
    craft: ConnectionType


FACES = (
    OutgoingFacade(
        object_type='outgoing_rest', kind='rest', names=('rest', 'plain_http'), door=RestNamespace, craft=REST
    ),
    OutgoingFacade(object_type='outgoing_soap', kind='soap', names=('soap',), door=SoapNamespace, craft=SOAP),
)

Made = tuple[
    tuple[Stored, Stored | None], OutgoingConnection | UnavailableConnection
]  # what it is made of, and what it became


@implementer(IOutgoingKind, IFetcher)
class HttpOutgoingConnections:
    """IOutgoingKind of HTTP, and what fetches documents for others."""

    _log = Logger()

    def __init__(self, context: OutgoingContext) -> None:
        self._reactor = context.reactor
        self.reach = ClientEnvironment(context.reactor, context.offload, environ=os.environ)
        self._means = CredentialsContext(reach=self.reach, unseal=context.unseal, shelf=_token_shelf(context))
        self._meters = {face.object_type: context.meters(face.kind) for face in FACES}
        self._component = context.component.encode('utf-8')
        self._fetcher = HttpFetcher(self.reach)
        self.shelves = {face.object_type: ConnectionRegistry(face.kind) for face in FACES}
        self._made: dict[tuple[str, str], Made] = {}  # by type and name
        self.identities: dict[str, tuple[Stored, OutgoingCredentials]] = {}  # by the definition's name
        self.types: Sequence[str] = tuple(self.shelves)
        self.doors: Mapping[str, Callable[[ICall], Any]] = {
            name: partial(face.door, self.shelves[face.object_type]) for face in FACES for name in face.names
        }

    # IOutgoingKind

    def prepare(self, snapshot: Snapshot) -> Deferred[Prepared]:
        """See IOutgoingKind. Building a connection opens none and takes no time, so all is done by the commit."""
        return succeed(Prepared(partial(self.apply, snapshot)))

    def apply(self, snapshot: Snapshot) -> Deferred[None]:
        """See IOutgoingKind. What is configured as before stays as it is, with its connections, breaker and tokens."""
        before, self._made = self._made, {}
        for face in FACES:
            self._apply(face, snapshot, before)
        kept = {id(connection) for _, connection in self._made.values()}
        for _, old in before.values():
            if isinstance(old, OutgoingConnection) and id(old) not in kept:
                old.retire()
        used = {security.name for (_, security), _ in self._made.values() if security is not None}
        self.identities = {name: known for name, known in self.identities.items() if name in used}
        return succeed(None)

    def ping(self, object_type: str, name: str) -> Deferred[str]:
        """See IOutgoing.ping."""
        shelf = self.shelves.get(object_type)
        if shelf is None:
            return fail(not_found(object_type, name, None))
        cid = new_cid()
        try:
            connection = shelf.find(name, cid)
        except ServiceError as fault:
            return fail(fault)
        return Deferred.fromCoroutine(connection.ping(PingCall(cid)))

    def stop(self) -> Deferred[None]:
        """See IOutgoingKind."""
        ending = [connection.end() for shelf in self.shelves.values() for connection in shelf]
        ended: Deferred[Any] = gatherResults([*ending, self._fetcher.close()])
        ended.addTimeout(_GRACE, self._reactor, lambda result, seconds: None)
        return ended.addCallback(lambda _: None)

    def findings(self) -> Iterator[str]:
        """What is not as it should be here now."""
        for shelf in self.shelves.values():
            for connection in shelf:
                yield from connection.findings()
            for unfit in shelf.unfit():
                yield unfit.sentence

    # IFetcher

    def fetch(self, url: str, *, timeout: float, most: int) -> Deferred[Fetched]:
        """See IFetcher."""
        return self._fetcher.fetch(url, timeout=timeout, most=most)

    # Making connections

    def _apply(self, face: OutgoingFacade, snapshot: Snapshot, before: Mapping[tuple[str, str], Made]) -> None:
        usable: dict[str, OutgoingConnection] = {}
        others: dict[str, UnavailableConnection | None] = {}
        for stored in snapshot.of(face.object_type):
            if not stored.value.is_active:
                others[stored.name] = None
                continue
            made = self._made_of(face, stored, _security_of(stored, snapshot), before)
            if isinstance(made, OutgoingConnection):
                usable[stored.name] = made
            else:
                others[stored.name] = made
        self._meters[face.object_type].only([*usable, *others])
        self.shelves[face.object_type].put(usable, others)

    def _made_of(
        self, face: OutgoingFacade, stored: Stored, security: Stored | None, before: Mapping[tuple[str, str], Made]
    ) -> OutgoingConnection | UnavailableConnection:
        key = face.object_type, stored.name
        known = before.get(key)
        if known is None or not _same(known[0], (stored, security)):
            known = (stored, security), self._build(face, stored, security)
        self._made[key] = known
        return known[1]

    def _build(
        self, face: OutgoingFacade, stored: Stored, security: Stored | None
    ) -> OutgoingConnection | UnavailableConnection:
        title = f'Outgoing connection {stored.name} ({face.kind})'
        workshop = BuildContext(reach=self.reach, component=self._component, meter=self._meters[face.object_type].of)
        try:
            return build(stored.value, title, self._identity(security), workshop, face.craft)
        except (ValueError, ServiceError) as wrong:
            unfit = UnavailableConnection(title, str(wrong))
            self._log.error('{sentence}', sentence=unfit.sentence)
            return unfit

    def _identity(self, security: Stored | None) -> OutgoingCredentials:
        """One for all connections of a definition, as long as it does not change: its token is theirs."""
        if security is None:
            return NOBODY
        known = self.identities.get(security.name)
        if known is None or known[0].value != security.value or known[0].type != security.type:
            known = self.identities[security.name] = security, credentials_of(security, self._means)
        return known[1]


def _security_of(stored: Stored, snapshot: Snapshot) -> Stored | None:
    name = stored.value.security
    if name is None:
        return None
    return next((found for key in _DEFINITIONS if (found := snapshot.named(key, name)) is not None), None)


def _same(one: tuple[Stored, Stored | None], other: tuple[Stored, Stored | None]) -> bool:
    """Whether they would become the same connection."""
    return all(
        (a is None) == (b is None) and (a is None or b is None or (a.type == b.type and a.value == b.value))
        for a, b in zip(one, other, strict=True)
    )


def _token_shelf(context: OutgoingContext) -> TokenCache | None:
    if context.keyvalue is None or context.leases is None:
        return None
    return TokenCache(keyvalue=context.keyvalue, leases=context.leases, key=context.key, seal=context.seal,
                      unseal=context.unseal, clock=context.reactor)


def make_outgoing(context: OutgoingContext) -> HttpOutgoingConnections:
    """What the node calls, once."""
    return HttpOutgoingConnections(context)
