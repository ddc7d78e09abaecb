"""Test doubles of the objects that the pipeline uses, such as services that are plain functions, and messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from zope.interface import implementer

from zatotx.interfaces.pipeline import IAuthenticationPolicy
from zatotx.interfaces.services import IServiceEntry, IServiceInvoker, IServiceMap, IServiceMapHolder
from zatotx.model.message import ANONYMOUS, ChannelSpec, HTTPView, Message, Principal, ServiceResult
from zatotx.rules.limits.concurrency_limit import ConcurrencyLimit

OPEN_CHANNEL = ChannelSpec(name='test', kind='http-soap', service='test.service', data_format='json')


class CallCountingStats:
    """Counts the calls and errors that the dispatcher reports for a service."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.times: list[float] = []
        self.errors: Counter[str] = Counter()

    def observe(self, seconds: float) -> None:
        self.times.append(seconds)

    def count_error(self, error_name: str) -> None:
        self.errors[error_name] += 1


@implementer(IServiceEntry)
class FunctionEntry:
    """A service entry whose service is a coroutine function (message, payload) -> ServiceResult."""

    def __init__(self, name: str, function: Callable[[Message, Any], Any], *, internal: bool = False,
                 active: bool = True) -> None:
        self.name = name
        self.cls = type(self)
        self.function = function
        self.is_internal = internal
        self.is_active = active
        self.roles: frozenset[str] = frozenset()
        self.stats = CallCountingStats()
        self.concurrency_limit = ConcurrencyLimit()
        self.sampler: Any = None
        self.file, self.version = '', 0
        self.metadata: Any = None


@implementer(IServiceMap)
class FunctionServiceMap:
    """A test double of IServiceMap, in which plain functions are the services."""

    def __init__(self, *entries: FunctionEntry) -> None:
        self._entries = {entry.name: entry for entry in entries}

    def get(self, name: str) -> FunctionEntry | None:
        return self._entries.get(name)

    def __iter__(self) -> Iterator[FunctionEntry]:
        return iter(self._entries.values())


@implementer(IServiceMapHolder)
class FunctionServiceMapHolder:
    """A service store that contains FunctionServiceMap."""

    def __init__(self, *entries: FunctionEntry) -> None:
        self.current = FunctionServiceMap(*entries)


@implementer(IServiceInvoker)
class FunctionInvoker:
    """An IServiceInvoker that invokes FunctionEntry objects."""

    async def invoke(self, entry: Any, services: IServiceMap, message: Message, payload: Any) -> ServiceResult:
        outcome: ServiceResult = await entry.function(message, payload)
        return outcome

    def explain_error(self, error: BaseException, entry: Any, result: ServiceResult | None) -> BaseException:
        return error


class MemorySpooledBody:
    """A message body that is not a bytes object, and behaves like a temporary file (model.message.Body). Readers must
    not close it."""

    is_nonblocking = False
    seekable = True

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = self.max_size = len(data)

    def read(self) -> bytes:
        return self._data

    def iter_chunks(self, size: int) -> Iterator[bytes]:
        return (self._data[start : start + size] for start in range(0, self.size, size))

    def read_at(self, start: int, size: int) -> bytes:
        return self._data[start : start + size]

    def close(self) -> None:
        raise AssertionError('The channel closes what it opened')


@implementer(IAuthenticationPolicy)
class AllowAllAuthentication:
    """An authentication policy that accepts every request."""

    def check(self, message: Message) -> Principal:
        return ANONYMOUS

    check_body = check


def make_message(
    body: bytes = b'{}',
    *,
    channel: ChannelSpec = OPEN_CHANNEL,
    method: str = 'POST',
    headers: dict[bytes, bytes] | None = None,
    deadline: float = 60.0,
) -> Message:
    """Create a message in the form in which an HTTP channel delivers it."""
    fields = headers or {}
    http = HTTPView(method, b'/test', '/test', b'', fields, {}, '127.0.0.1')
    return Message('0123456789abcdef01234567', channel, channel.service or 'test.service', fields, body, deadline, http)
