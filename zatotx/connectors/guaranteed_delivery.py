"""`delivery: guaranteed`: calls of an outgoing connection that go through the work stream (store and forward).

A kind derives the Struct of its connections from OutgoingDelivery (zatotx.schema.delivery), and names in
`ConnectionType.sends` the methods that send something. Where the configuration says `guaranteed`, such a method writes
the call to the work stream and returns; a server makes it later, as often as needed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from time import time
from typing import Any

from attrs import frozen

from zatotx.interfaces.outgoing import IServiceCall
from zatotx.interfaces.work import IWorkStream
from zatotx.model.cid import new_cid
from zatotx.model.errors import BadRequest, ServiceUnavailable
from zatotx.model.work import WorkMessage
from zatotx.schema.delivery import GUARANTEED

DELIVER_SERVICE = 'zato.outgoing.deliver'  # makes the calls; its own calls of connections are not written again
ATTEMPTS, MAX_DELAY = 100, 300.0  # a peer may be away for about eight hours


@frozen(kw_only=True)
class GuaranteedNamespace:
    """`self.out.<kind>` of one call: connections whose delivery is guaranteed are replaced by their stored form."""

    kind: str  # of `self.out.<kind>`
    namespace: Any  # what the kind offers
    sends: Collection[str]
    is_guaranteed: Callable[[str], bool]
    work: IWorkStream | None
    call: IServiceCall

    def __getitem__(self, name: str) -> Any:
        connection = self.namespace[name]  # raises NotFound and Inactive as for a direct call
        return StoredCalls(self, name, connection) if self.is_guaranteed(name) else connection

    def get(self, name: str) -> Any:
        """The same as `[name]`."""
        return self[name]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.namespace, name)


@frozen
class StoredCalls:
    """`self.out.<kind>[name]` where delivery is guaranteed: methods that send return the id of the stored message."""

    _namespace: GuaranteedNamespace
    _name: str
    _connection: Any

    def __getattr__(self, method: str) -> Any:
        if method in self._namespace.sends:
            return partial(self._store, method)
        return getattr(self._connection, method)

    def _store(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._namespace.call.run(lambda: self._stored(method, args, kwargs))

    async def _stored(self, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        space = self._namespace
        title = f'self.out.{space.kind}[{self._name!r}].{method}'
        if space.work is None:
            raise ServiceUnavailable(space.call.cid, f'{title}: there is no work stream for guaranteed delivery here')
        payload = {'kind': space.kind, 'name': self._name, 'method': method, 'args': list(args), 'kwargs': dict(kwargs)}
        message = WorkMessage(
            id=new_cid(), cid=space.call.cid, service=DELIVER_SERVICE, payload=payload, trace=space.call.trace,
            created_at=time(), max_attempts=ATTEMPTS, max_delay=MAX_DELAY,
        )  # fmt: skip
        try:
            await space.work.add([message])
        except TypeError as error:
            raise BadRequest(space.call.cid, f'{title}: its arguments cannot be stored: {error}') from None
        return message.id


def is_guaranteed(value: Any) -> bool:
    """Return whether a connection's configuration asks for guaranteed delivery."""
    return getattr(value, 'delivery', '') == GUARANTEED
