"""Calls of operations: their messages made by the contract, sent by the connection, and their answers read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from twisted.logger import Logger

from zatotx.interfaces.outgoing import ICall
from zatotx.model.errors import BadGateway
from zatotx.plugins.http.rest.request_builder import MARGIN
from zatotx.plugins.http.soap.outgoing.connection import SoapConnection
from zatotx.plugins.http.soap.outgoing.envelopes import SoapCall, SoapRequestForm
from zatotx.plugins.http.soap.outgoing.wsdl_client import ArgumentsMismatch, WsdlClient, WsdlUsageError

# zeep takes some 50 us a value, there and back: more than a few milliseconds of that are a thread's.
_MOST_VALUES = 60
_MOST_BYTES = 4 * 1024

_log = Logger()


class OperationCall(msgspec.Struct, frozen=True):
    """A call of an operation, as a service makes it."""

    operation: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    headers: Mapping[str, Any] | None = None
    timeout: float | None = None


async def call_operation(connection: SoapConnection, asked: OperationCall, call: ICall) -> Any:
    """What the operation gives. Raises ValueError for what it does not take, PeerFault, and what `exchange` does; all
    of it, the WSDL included, within the time of one call."""
    form = connection.form
    assert isinstance(form, SoapRequestForm)
    seconds = connection.reactor.seconds
    time = form.timeout if asked.timeout is None else asked.timeout
    time = max(0.0, min(time, call.deadline - MARGIN - seconds()))
    due = seconds() + time
    with connection.held():
        contract = await connection.contracts.get(call.cid, time)
        message = await _message(connection, contract, asked)
        message.timeout = max(0.0, due - seconds())
        response = await connection.exchange(message, call)
        if message.one_way:
            return None
        try:
            tag = '' if response.data is None else response.data.tag
            large = len(response.content) > _MOST_BYTES
            return await _done(form, large, contract.read, asked.operation, response, tag)
        except ArgumentsMismatch as wrong:
            title = connection.parts.title
            _log.warn('{cid}: {title} gave an answer that is not what its WSDL says: {wrong}', cid=call.cid,
                      title=title, wrong=wrong)
            raise BadGateway(call.cid, f'{title} gave no usable answer: it is not what its WSDL says') from wrong


async def type_of(connection: SoapConnection, name: str, call: ICall) -> Any:
    """A type of the WSDL. Raises ValueError where there is none of that name."""
    with connection.held():
        contract = await connection.contracts.get(call.cid, connection.form.timeout)
    try:
        return contract.type(name)
    except WsdlUsageError as wrong:
        raise ValueError(f'{connection.parts.title}: {wrong}') from wrong


async def _message(connection: SoapConnection, contract: WsdlClient, asked: OperationCall) -> SoapCall:
    form = connection.form
    assert isinstance(form, SoapRequestForm)
    large = _left(_MOST_VALUES, (asked.args, asked.kwargs)) < 0
    try:
        written = await _done(form, large, contract.write, asked.operation, asked.args, asked.kwargs)
    except WsdlUsageError as wrong:
        raise ValueError(f'{connection.parts.title}: {wrong}') from wrong
    return SoapCall(
        'POST', form.ready_of(written.root, contract.version), headers=asked.headers, soap_action=written.action,
        one_way=written.one_way,
    )  # fmt: skip


async def _done(form: SoapRequestForm, in_thread: bool, function: Callable[..., Any], *args: Any) -> Any:
    return await form.offload(function, *args) if in_thread else function(*args)


def _left(values: int, given: Any) -> int:
    """How many of so many values are left once these are counted, those that hold others too; below 0 there were
    more."""
    inside: Iterable[Any] | None = None
    if isinstance(given, Mapping):
        inside = given.values()
    elif isinstance(given, list | tuple):
        inside = given
    elif hasattr(given, '__values__'):  # of zeep
        inside = given.__values__.values()
    if inside is None:
        return values - 1 - (len(given) // 100_000 if isinstance(given, str | bytes) else 0)
    values -= 1
    for one in inside:
        if values < 0:
            break
        values = _left(values, one)
    return values
