"""The operations of a peer as methods: `self.out.soap['Bank'].client.GetBalance(account_id=7)`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Self

from zatotx.interfaces.outgoing import IServiceCall
from zatotx.plugins.http.soap.outgoing.connection import SoapConnection
from zatotx.plugins.http.soap.outgoing.operation_calls import OperationCall, call_operation, get_wsdl_type

FindConnection = Callable[[], SoapConnection]


class SoapClient:
    """A client for the operations of the connection's WSDL, which is loaded when it is first needed. An operation takes
    the fields of its input, by name or in order; records are dicts, or created with `type`. In an async service each
    method returns an awaitable, in a def service the result, as zeep represents it: records with attributes, numbers
    and dates as Python's own.

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
        """Creates values of the WSDL's types, as in suds."""
        return TypeFactory(self._find, self._call)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: there is nothing to release."""

    def _call_operation(self, operation: str, /, *args: Any, **kwargs: Any) -> Any:
        operation_call = OperationCall(operation, args, kwargs, self._headers, self._timeout)
        return self._call.run(partial(call_operation, self._find(), operation_call, self._call))


class Operations:
    """The operations of a WSDL as attributes: `client.service`."""

    __slots__ = ('_client',)

    def __init__(self, client: SoapClient) -> None:
        self._client = client

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        if operation.startswith('__'):
            raise AttributeError(operation)
        return self._client[operation]

    __getitem__ = __getattr__


class TypeFactory:
    """Creates values of WSDL types: `client.factory`."""

    __slots__ = ('_call', '_find')

    def __init__(self, find: FindConnection, call: IServiceCall) -> None:
        self._find = find
        self._call = call

    def create(self, name: str) -> Any:
        """Return an empty value of a type."""
        return self._call.run(partial(self._create, self._find(), name))

    async def _create(self, connection: SoapConnection, name: str) -> Any:
        return (await get_wsdl_type(connection, name, self._call))()
