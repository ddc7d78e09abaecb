"""The operations of a peer as methods: `self.out.soap['Bank'].client.GetBalance(account_id=7)`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Self

from zatotx.interfaces.outgoing import ICall
from zatotx.plugins.http.soap.outgoing.connection import SoapConnection
from zatotx.plugins.http.soap.outgoing.operation_calls import OperationCall, call_operation, type_of

Find = Callable[[], SoapConnection]


class SoapClient:
    """A client by the connection's WSDL, which is read when it is needed first. An operation takes what its input has,
    by name or in order; records are dicts, or made by `type`. In an async service each method gives an awaitable, in a
    def service what the peer answers, as zeep shows it: records by attribute, numbers and dates as Python's own.

    Operations that are called like something here are reached by `service`.
    """

    __slots__ = ('_call', '_find', '_headers', '_timeout')

    def __init__(self, find: Find, call: ICall, headers: Mapping[str, Any] | None = None,
                 timeout: float | None = None) -> None:  # fmt: skip
        self._find = find
        self._call = call
        self._headers = headers
        self._timeout = timeout

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        if operation.startswith('__'):
            raise AttributeError(operation)
        return partial(self._operate, operation)

    def __getitem__(self, operation: str) -> Callable[..., Any]:
        """An operation whose name is no name in Python."""
        return partial(self._operate, operation)

    def using(self, headers: Mapping[str, Any] | None = None, timeout: float | None = None) -> SoapClient:
        """The same, with these fields of HTTP, and with so many seconds for each call instead of the connection's."""
        return SoapClient(self._find, self._call, headers, timeout)

    def type(self, name: str) -> Any:
        """A type of the WSDL, '{urn:crm}Customer' or 'ns0:Customer', to be called with its fields."""
        return self._call.result(partial(type_of, self._find(), name, self._call))

    @property
    def service(self) -> Operations:
        """Its operations and nothing else, as suds and zeep call them."""
        return Operations(self)

    @property
    def factory(self) -> TypeFactory:
        """Values of its types, as suds makes them."""
        return TypeFactory(self._find, self._call)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """There is nothing to give back."""

    def _operate(self, operation: str, /, *args: Any, **kwargs: Any) -> Any:
        asked = OperationCall(operation, args, kwargs, self._headers, self._timeout)
        return self._call.result(partial(call_operation, self._find(), asked, self._call))


class Operations:
    """`client.service`."""

    __slots__ = ('_client',)

    def __init__(self, client: SoapClient) -> None:
        self._client = client

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        if operation.startswith('__'):
            raise AttributeError(operation)
        return self._client[operation]

    __getitem__ = __getattr__


class TypeFactory:
    """`client.factory`."""

    __slots__ = ('_call', '_find')

    def __init__(self, find: Find, call: ICall) -> None:
        self._find = find
        self._call = call

    def create(self, name: str) -> Any:
        """A value of a type, with nothing in it yet."""
        return self._call.result(partial(self._created, self._find(), name))

    async def _created(self, connection: SoapConnection, name: str) -> Any:
        return (await type_of(connection, name, self._call))()
