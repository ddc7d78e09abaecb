"""Calls WSDL operations: encodes their messages, sends them, and decodes the responses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from twisted.logger import Logger

from zatotx.interfaces.outgoing import IServiceCall
from zatotx.model.errors import BadGateway
from zatotx.plugins.http.rest.request_builder import DEADLINE_MARGIN
from zatotx.plugins.http.soap.outgoing.connection import SoapConnection
from zatotx.plugins.http.soap.outgoing.envelopes import SoapCallSpec, SoapRequestTemplate
from zatotx.plugins.http.soap.outgoing.wsdl_client import ResponseMismatch, WsdlClient, WsdlUsageError

# zeep takes some 50 us per value, both ways together: more than a few milliseconds of work runs in a thread.
_MAX_VALUES = 60
_MAX_BYTES = 4 * 1024

_log = Logger()


class OperationCall(msgspec.Struct, frozen=True):
    """The call of an operation by a service."""

    operation: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    headers: Mapping[str, Any] | None = None
    timeout: float | None = None


async def call_operation(connection: SoapConnection, operation: OperationCall, call: IServiceCall) -> Any:
    """Call an operation and return its result. Raises ValueError for invalid arguments, PeerFault, and what `exchange`
    raises. Everything, loading the WSDL included, happens within the timeout of one call."""
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
    """Return a type of the WSDL. Raises ValueError if there is none of that name."""
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
