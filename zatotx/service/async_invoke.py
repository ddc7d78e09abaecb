"""Implements `self.invoke_async`, with which a service invokes another service through the work stream, without waiting
for the result.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from random import SystemRandom
from threading import get_ident
from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from zatotx.model.cid import new_cid
from zatotx.model.errors import BadRequest, NotFound, ServiceUnavailable
from zatotx.model.work_message import INVOKE_ASYNC, WorkMessage
from zatotx.schema.name_suggestion import suggest_similar_name
from zatotx.service.invocation import Invocation
from zatotx.wire.xml.parser import is_element, serialize_document

_random = SystemRandom()
IMPLICIT_CALLBACK = '{}-async-callback'  # a service of this name is the callback where the caller names none
SELF = 'self'
# Further arguments of Zato's invoke_async, accepted so that calls written for it work.
ZATO_OPTIONS = frozenset(('transport', 'zato_ctx', 'environ'))


class AsyncInvocation(msgspec.Struct, kw_only=True):
    """The arguments of a self.invoke_async call."""

    target: Any  # a name, a name and a server ('crm.pay@server1'), or a Service subclass
    payload: Any = ''
    channel: str = INVOKE_ASYNC
    data_format: str | None = None
    expiration: float | None = None  # seconds
    to_json_string: bool = False
    cid: str | None = None
    callback: Any = None  # a service name, 'self', or several of them
    order_key: str = ''
    options: dict[str, Any] = {}

    def __post_init__(self) -> None:
        unknown = sorted(set(self.options) - ZATO_OPTIONS)
        if unknown:
            raise TypeError(f'invoke_async() has no argument {", ".join(unknown)}')
        if self.expiration is not None and not self.expiration > 0:
            raise ValueError(f'expiration is a number of seconds above 0, or None, not {self.expiration!r}')


def invoke_async(invocation: Invocation, call: AsyncInvocation) -> Any:
    """Write an invocation message to the work stream. On the reactor, return a Deferred that fires with the correlation
    ID; the message is written even if the service does not await the Deferred. In other threads, return the correlation
    ID.

    Raises NotFound for an unknown service or server, BadRequest for a payload that cannot be stored, and
    ServiceUnavailable or Timeout if the broker of the work stream is unavailable.
    """
    return run_from_any_thread(invocation, lambda: add_invocation(invocation, call))


def run_from_any_thread(invocation: Invocation, make: Callable[[], Any]) -> Any:
    """Run a coroutine on the reactor from any thread. On the reactor's thread, return a Deferred; in other threads,
    block and return the result."""
    invoker = invocation.invoker
    if get_ident() == invoker.io_thread:
        return Deferred.fromCoroutine(make())
    return invoker.threads.run_on_reactor(lambda lender: make(), invocation.thread_call, invocation.message.deadline)


async def add_invocation(invocation: Invocation, call: AsyncInvocation) -> str:
    """Write the message of an asynchronous invocation to the work stream, and return its correlation ID."""
    name, _, pattern = target_name(call.target).partition('@')
    message = make_work_message(
        invocation, name, call.payload, cid=call.cid or invocation.message.cid, channel=call.channel or INVOKE_ASYNC,
        callbacks=callbacks_of(invocation, name, call.callback), order_key=call.order_key,
    )  # fmt: skip
    changes: dict[str, Any] = {'payload': to_payload(call.payload, call.data_format, as_json=call.to_json_string)}
    if is_element(call.payload) or (call.data_format == 'xml' and isinstance(changes['payload'], (str, bytes))):
        text = changes['payload']
        changes |= {'payload': text.encode('utf-8') if isinstance(text, str) else text, 'data_format': 'xml'}
    if call.expiration is not None:
        changes['expires_at'] = message.created_at + call.expiration
    if pattern:
        changes['target'] = await find_server(invocation, pattern)
    await write_to_work_stream(invocation, [msgspec.structs.replace(message, **changes)])
    return message.cid


def make_work_message(invocation: Invocation, name: str, payload: Any, *, cid: str, **fields: Any) -> WorkMessage:
    """Return the message of an asynchronous invocation of a service, with the identity of the current caller. Raises
    NotFound."""
    require_service(invocation, name)
    message = invocation.message
    return WorkMessage(id=new_cid(), cid=cid, service=name, payload=to_payload(payload), principal=message.principal,
                       trace=message.trace, created_at=invocation.invoker.now(), **fields)  # fmt: skip


async def write_to_work_stream(invocation: Invocation, messages: list[WorkMessage]) -> None:
    """Write messages to the work stream."""
    work = getattr(invocation.invoker.node, 'work', None)
    if work is None:
        raise ServiceUnavailable(invocation.message.cid, 'Asynchronous invocations need a server: there is none here')
    try:
        await work.add(messages)
    except TypeError as error:
        names = ', '.join(sorted({message.service for message in messages}))
        raise BadRequest(invocation.message.cid, f'The payload for {names} cannot be written to the work stream: '
                         f'{error}; pass text, bytes, numbers, lists and dicts') from None  # fmt: skip


def target_name(target: Any) -> str:
    """Return the name of a target service. `target` is a name or a service class."""
    name: str = target if isinstance(target, str) else target.get_name()
    return name


def require_service(invocation: Invocation, name: str) -> None:
    """Raise NotFound unless a service with the given name exists."""
    if invocation.services.get(name) is None:
        suggestion = suggest_similar_name(name, (candidate.name for candidate in invocation.services))
        raise NotFound(invocation.message.cid, f'Service {name} does not exist{suggestion}')


def callbacks_of(invocation: Invocation, name: str, callback: Any) -> tuple[str, ...]:
    """Return the names of the services that receive the result. These are the given services, or the implicit callback
    if it exists. Raises NotFound."""
    if callback is None or callback == '':
        implicit = IMPLICIT_CALLBACK.format(name)
        return (implicit,) if invocation.services.get(implicit) is not None else ()
    given: Iterable[Any] = callback if isinstance(callback, (list, tuple, set)) else (callback,)
    names = tuple(invocation.entry.name if one == SELF else target_name(one) for one in given)
    for one in names:
        require_service(invocation, one)
    return names


def to_payload(payload: Any, data_format: str | None = None, *, as_json: bool = False) -> Any:
    """Convert a payload to the form in which it is stored: models are converted to dicts, and XML elements to bytes.
    Raises BadRequest for text that is not JSON if the data format is JSON."""
    if is_element(payload):
        return serialize_document(payload)
    if not isinstance(payload, (str, bytes)):
        try:
            payload = msgspec.to_builtins(payload, builtin_types=(bytes,))
        except TypeError:
            return payload  # reported when it is written
    if as_json and not isinstance(payload, (str, bytes)):
        return json.dumps(payload, ensure_ascii=False)
    if data_format == 'json' and isinstance(payload, (str, bytes)) and payload:
        try:
            return msgspec.json.decode(payload)
        except msgspec.DecodeError as error:
            raise BadRequest(None, f'The payload is not JSON: {error}') from None
    return payload


async def find_server(invocation: Invocation, pattern: str) -> str:
    """Return a server whose name matches a pattern such as `server1` or `eu-*`, preferably a running one. Raises
    NotFound, which lists the existing servers."""
    rows = await invocation.invoker.node.odb.nodes()
    matching = [row for row in rows if fnmatchcase(row.name, pattern)]
    running = [row.name for row in matching if row.up_status == 'running']
    if not matching:
        known = ', '.join(sorted({row.name for row in rows}))
        raise NotFound(invocation.message.cid, f'No server matches the target {pattern!r}; there are {known}')
    name: str = _random.choice(running or [row.name for row in matching])
    return name
