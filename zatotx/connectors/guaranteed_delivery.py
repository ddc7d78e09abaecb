"""Implements `delivery: guaranteed` (store and forward). Calls of an outgoing connection are stored in the work stream,
and sent from there.

A kind derives the Struct of its connections from OutgoingDelivery (zatotx.schema.delivery_fields), and names in
`ConnectionType.sends` the methods that send something. Where the configuration says `guaranteed`, such a method writes
the call to the work stream and returns; a server makes it later, as often as needed. `ConnectionType.prepare_stored`
may change what is stored, `make_stored_result` what the service gets, and `delivery_namespace` has the methods that
make stored calls where those of services do not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from time import time
from typing import Any

from attrs import frozen

from zatotx.interfaces.outgoing import IServiceCall
from zatotx.interfaces.work_stream import IWorkStream
from zatotx.model.cid import new_cid
from zatotx.model.errors import BadRequest, ServiceUnavailable
from zatotx.model.work_message import WorkMessage
from zatotx.schema.delivery_fields import GUARANTEED

DELIVER_SERVICE = 'zato.outgoing.deliver'  # makes the calls; its own calls of connections are not written again
ATTEMPTS, MAX_DELAY = 100, 300.0  # a peer may be away for about eight hours


@frozen(kw_only=True)
class StoredCall:
    """A stored call of a connection's method. `method` is the name of the method, such as 'post', or 'conn.post' for a
    method of an attribute. Calls with the same `order_key` are made one after another, in the order in which they were
    stored. Calls with the key '' are not ordered."""

    method: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    order_key: str = ''


PrepareStored = Callable[[Any, StoredCall, str], StoredCall | None]  # configuration, call, id of the message
MakeStoredResult = Callable[[str, IServiceCall], Any]  # id of the message


def store_call_unchanged(value: Any, call: StoredCall, message_id: str) -> StoredCall | None:
    """Return the call unchanged. This is the default of the functions that prepare a call for storage. Such a function
    returns None if the call must be made directly, and raises TypeError or ValueError if the call cannot be stored."""
    return call


def bind_arguments(call: StoredCall, names: Sequence[str], options: Collection[str] = ()) -> dict[str, Any]:
    """Return the arguments of a call by their names. `options` are the arguments that can be passed by name only.
    Raises TypeError for invalid arguments, as the method itself would."""
    if len(call.args) > len(names):
        raise TypeError(f'{call.method}() takes at most {len(names)} arguments without a name')
    arguments = dict(zip(names, call.args, strict=False))
    if twice := arguments.keys() & call.kwargs.keys():
        raise TypeError(f'{call.method}() got {", ".join(sorted(twice))} twice')
    if unknown := call.kwargs.keys() - {*names, *options}:
        raise TypeError(f'{call.method}() has no argument {", ".join(sorted(unknown))}')
    arguments.update(call.kwargs)
    if names and names[0] not in arguments:
        raise TypeError(f'{call.method}() needs {names[0]}')
    return arguments


def message_id_of(message_id: str, call: IServiceCall) -> Any:
    """Return the ID of the stored message. This default result is returned to the service that made the call."""
    return message_id


@frozen(kw_only=True)
class GuaranteedNamespace:
    """The connections `self.out.<kind>` for one service invocation. Connections with guaranteed delivery are replaced
    with StoredCalls."""

    kind: str  # of `self.out.<kind>`
    namespace: Any  # what the kind offers
    sends: Collection[str]
    guaranteed: Callable[[str], Any]  # the configuration of a connection whose delivery is guaranteed, else None
    prepare: PrepareStored
    make_result: MakeStoredResult
    work: IWorkStream | None
    call: IServiceCall

    def __getitem__(self, name: str) -> Any:
        connection = self.namespace[name]  # raises NotFound and Inactive as for a direct call
        value = self.guaranteed(name)
        return connection if value is None else StoredCalls(self, name, connection, value)

    def get(self, name: str) -> Any:
        """The same as `[name]`."""
        return self[name]

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.namespace, name)
        return partial(self._send_by, name) if name in self.sends else found

    def _send_by(self, method: str, message: Any, out_name: str, *args: Any, **kwargs: Any) -> Any:
        """Zato's form of kinds that send messages, `self.outgoing.amqp.send(message, 'name', …)`."""
        return getattr(self[out_name], method)(message, *args, **kwargs)


@frozen
class StoredCalls:
    """A connection with guaranteed delivery, which services access as `self.out.<kind>[name]`. Its sending methods
    write the call to the work stream."""

    _namespace: GuaranteedNamespace
    _name: str
    _target: Any  # the connection, or an attribute of it such as Zato's `conn`
    _value: Any
    _prefix: str = ''  # of the methods of that attribute: 'conn.'

    def __getattr__(self, name: str) -> Any:
        method = f'{self._prefix}{name}'
        if method in self._namespace.sends:
            return partial(self._send, method)
        found = getattr(self._target, name)
        if any(one.startswith(f'{method}.') for one in self._namespace.sends):
            return StoredCalls(self._namespace, self._name, found, self._value, f'{method}.')
        return found

    def _send(self, method: str, *args: Any, **kwargs: Any) -> Any:
        space, message_id = self._namespace, new_cid()
        try:
            call = space.prepare(self._value, StoredCall(method=method, args=args, kwargs=kwargs), message_id)
        except (TypeError, ValueError) as error:
            raise self._cannot_store(method, error) from None
        if call is None:
            return getattr(self._target, method.rpartition('.')[2])(*args, **kwargs)
        return space.call.run(partial(self._store, call, message_id))

    async def _store(self, call: StoredCall, message_id: str) -> Any:
        space = self._namespace
        if space.work is None:
            title = self._title(call.method)
            raise ServiceUnavailable(space.call.cid, f'{title}: there is no work stream for guaranteed delivery here')
        payload = {'kind': space.kind, 'name': self._name, 'method': call.method, 'args': list(call.args),
                   'kwargs': dict(call.kwargs)}  # fmt: skip
        message = WorkMessage(
            id=message_id, cid=space.call.cid, service=DELIVER_SERVICE, payload=payload, trace=space.call.trace,
            created_at=time(), max_attempts=ATTEMPTS, max_delay=MAX_DELAY, order_key=call.order_key,
        )  # fmt: skip
        try:
            await space.work.add([message])
        except TypeError as error:
            raise self._cannot_store(call.method, error) from None
        return space.make_result(message_id, space.call)

    def _title(self, method: str) -> str:
        return f'self.out.{self._namespace.kind}[{self._name!r}].{method}'

    def _cannot_store(self, method: str, error: Exception) -> BadRequest:
        cid = self._namespace.call.cid
        return BadRequest(cid, f'{self._title(method)}: its arguments cannot be stored: {error}')


def is_guaranteed(value: Any) -> bool:
    """Return whether the configuration of a connection selects guaranteed delivery."""
    return getattr(value, 'delivery', '') == GUARANTEED
