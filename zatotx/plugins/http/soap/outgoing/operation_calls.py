"""Calls WSDL operations: encodes their messages, sends them, and decodes the responses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Self

import msgspec
from twisted.logger import Logger

from zatotx.interfaces.outgoing import IServiceCall
from zatotx.model.errors import BadGateway
from zatotx.plugins.http.rest.request_builder import DEADLINE_MARGIN
from zatotx.plugins.http.soap.outgoing.envelope_builder import SoapCallSpec, SoapRequestTemplate
from zatotx.plugins.http.soap.outgoing.soap_connection import SoapConnection
from zatotx.plugins.http.soap.outgoing.wsdl_client import ResponseMismatch, WsdlClient, WsdlUsageError

# zeep takes some 50 us per value, both ways together: more than a few milliseconds of work runs in a thread.
_MAX_VALUES = 60
_MAX_BYTES = 4 * 1024

_log = Logger()
FindConnection = Callable[[], SoapConnection]


class OperationCall(msgspec.Struct, frozen=True):
    """The call of a WSDL operation by a service."""

    operation: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    headers: Mapping[str, Any] | None = None
    timeout: float | None = None


async def call_operation(connection: SoapConnection, operation: OperationCall, call: IServiceCall) -> Any:
    """Call a WSDL operation and return its result. Raises ValueError for invalid arguments, PeerFault, and the errors
    of `exchange`. The timeout of the call includes the time to load the WSDL."""
    form = connection.request_template
    assert isinstance(form, SoapRequestTemplate)
    seconds = connection.reactor.seconds
    timeout = form.timeout if operation.timeout is None else operation.timeout
    timeout = max(0.0, min(timeout, call.deadline - DEADLINE_MARGIN - seconds()))
    due = seconds() + timeout
    with connection.in_use():
        client = await connection.wsdl_cache.get(call.cid, timeout)
        message = await _encode(connection, client, operation)
        message.timeout = max(0.0, due - seconds())
        response = await connection.send_message(message, call)
        if message.one_way:
            return None
        try:
            tag = '' if response.data is None else response.data.tag
            large = len(response.content) > _MAX_BYTES
            return await _run(form, large, client.decode, operation.operation, response, tag)
        except ResponseMismatch as error:
            title = connection.parts.title
            _log.warn('{cid}: {title} gave an answer that is not what its WSDL says: {wrong}', cid=call.cid,
                      title=title, wrong=error)
            raise BadGateway(call.cid, f'{title} gave no usable answer: it is not what its WSDL says') from error


async def get_wsdl_type(connection: SoapConnection, name: str, call: IServiceCall) -> Any:
    """Return a type of the WSDL. Raises ValueError if no type has the given name."""
    with connection.in_use():
        client = await connection.wsdl_cache.get(call.cid, connection.request_template.timeout)
    try:
        return client.get_type(name)
    except WsdlUsageError as error:
        raise ValueError(f'{connection.parts.title}: {error}') from error


async def _encode(connection: SoapConnection, client: WsdlClient, operation: OperationCall) -> SoapCallSpec:
    form = connection.request_template
    assert isinstance(form, SoapRequestTemplate)
    large = _subtract_values(_MAX_VALUES, (operation.args, operation.kwargs)) < 0
    try:
        encoded = await _run(form, large, client.encode, operation.operation, operation.args, operation.kwargs)
    except WsdlUsageError as error:
        raise ValueError(f'{connection.parts.title}: {error}') from error
    return SoapCallSpec(
        'POST', form.prepare_tree(encoded.root, client.version), headers=operation.headers, soap_action=encoded.action,
        one_way=encoded.one_way,
    )  # fmt: skip


async def _run(form: SoapRequestTemplate, in_thread: bool, function: Callable[..., Any], *args: Any) -> Any:
    return await form.offload(function, *args) if in_thread else function(*args)


def _subtract_values(values: int, value: Any) -> int:
    """Subtract the number of nested values, containers included, from `values`; a negative result means that there are
    more."""
    children: Iterable[Any] | None = None
    if isinstance(value, Mapping):
        children = value.values()
    elif isinstance(value, list | tuple):
        children = value
    elif hasattr(value, '__values__'):  # an object of zeep
        children = value.__values__.values()
    if children is None:
        return values - 1 - (len(value) // 100_000 if isinstance(value, str | bytes) else 0)
    values -= 1
    for child in children:
        if values < 0:
            break
        values = _subtract_values(values, child)
    return values


class SoapClient:
    """A client for the operations of the connection's WSDL, which is loaded when it is first needed. The arguments of
    an operation are the fields of its input, by name or in order. Records are passed as dicts, or created with `type`.
    In an async service, each method returns an awaitable. In a synchronous service, it returns the zeep result, in
    which records have attributes, and numbers and dates are Python objects.

    Operations with the name of a method of this class are available in `service`.
    """

    __slots__ = ('_call', '_find', '_headers', '_timeout')

    def __init__(self, find: FindConnection, call: IServiceCall, headers: Mapping[str, Any] | None = None,
                 timeout: float | None = None) -> None:  # fmt: skip
        self._find = find
        self._call = call
        self._headers = headers
        self._timeout = timeout

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        if operation.startswith('__'):
            raise AttributeError(operation)
        return partial(self._call_operation, operation)

    def __getitem__(self, operation: str) -> Callable[..., Any]:
        """Return an operation whose name is no Python identifier."""
        return partial(self._call_operation, operation)

    def using(self, headers: Mapping[str, Any] | None = None, timeout: float | None = None) -> SoapClient:
        """Return a client that sends these HTTP fields, and uses this timeout in seconds instead of the
        connection's."""
        return SoapClient(self._find, self._call, headers, timeout)

    def type(self, name: str) -> Any:
        """Return a type of the WSDL, '{urn:crm}Customer' or 'ns0:Customer'; call it with its fields."""
        return self._call.run(partial(get_wsdl_type, self._find(), name, self._call))

    @property
    def service(self) -> Operations:
        """The operations only, as in suds and zeep."""
        return Operations(self)

    @property
    def factory(self) -> TypeFactory:
        """Create values of the WSDL's types, as in suds."""
        return TypeFactory(self._find, self._call)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: there is nothing to release."""

    def _call_operation(self, operation: str, /, *args: Any, **kwargs: Any) -> Any:
        operation_call = OperationCall(operation, args, kwargs, self._headers, self._timeout)
        return self._call.run(partial(call_operation, self._find(), operation_call, self._call))


class Operations:
    """The operations of a WSDL as methods of one object, which is available as `client.service`."""

    __slots__ = ('_client',)

    def __init__(self, client: SoapClient) -> None:
        self._client = client

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        if operation.startswith('__'):
            raise AttributeError(operation)
        return self._client[operation]

    __getitem__ = __getattr__


class TypeFactory:
    """Creates values of WSDL types. The object is available as `client.factory`."""

    __slots__ = ('_call', '_find')

    def __init__(self, find: FindConnection, call: IServiceCall) -> None:
        self._find = find
        self._call = call

    def create(self, name: str) -> Any:
        """Return an empty value of a type."""
        return self._call.run(partial(self._create, self._find(), name))

    async def _create(self, connection: SoapConnection, name: str) -> Any:
        return (await get_wsdl_type(connection, name, self._call))()
