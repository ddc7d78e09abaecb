"""One outgoing FTP connection, which implements RemoteFiles. It runs the operations and transfers of services on the
sessions of its pool, with time limits, meters and a log of failures.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Awaitable, Callable, Iterator
from math import inf
from typing import Any, Generic, TypeVar

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.connectors.call_policies import CircuitBreaking, CircuitOpen, Retrying, TimeLimit
from zatotx.connectors.failure_log import FailureLog
from zatotx.connectors.remote_files import FileInfo, WriteOptions
from zatotx.connectors.tls_client import TlsClientFactory
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.interfaces.meters import count_call
from zatotx.interfaces.outgoing import IServiceCall
from zatotx.model.errors import RemoteFileNotFound, ServiceUnavailable, Timeout
from zatotx.plugins.ftp.client.connector import SessionConnector
from zatotx.plugins.ftp.client.errors import (
    CommandRejected,
    ConnectionClosed,
    FileTooLarge,
    TransferFailed,
    Unreachable,
)
from zatotx.plugins.ftp.client.pool import SessionPool
from zatotx.plugins.ftp.client.session import FtpSession, SessionSettings
from zatotx.plugins.ftp.client.transfer import Download, Upload
from zatotx.plugins.ftp.error_mapping import PEER_FAILURES, map_error, not_found_error
from zatotx.plugins.ftp.file_transfer import FtpReader, FtpWriter
from zatotx.plugins.ftp.schema.outgoing_ftp import IMPLICIT, FtpOutgoing, tls_settings
from zatotx.plugins.ftp.wire import path_error
from zatotx.rules.resilience.circuit_breaker import CLOSED, CircuitBreaker
from zatotx.rules.resilience.outgoing_retry import CallRetryBudget, RetryableFailure, RetryPolicy, outgoing_retry_delay

T = TypeVar('T')
ANONYMOUS = 'anonymous'


@frozen
class FtpCall(Generic[T]):
    """One operation on an FTP session. The operation may run twice: first on a connection that the server had closed,
    then on a new connection. With `keeps_session`, a successful operation keeps the session and releases it later."""

    operation: Callable[[FtpSession], Awaitable[T]]
    deadline: float  # seconds on the reactor's clock
    keeps_session: bool = False
    is_repeatable: bool = False  # it only reads


@frozen
class FtpRetryDecision:
    """The retry decision for FTP: operations that only read, and operations that the server has not received, can be
    retried."""

    policy: RetryPolicy
    seconds: Callable[[], float]

    def after_error(self, request: FtpCall[Any], attempts: int, error: Exception) -> float | None:
        """See RetryDecision."""
        if not isinstance(error, Unreachable | TransferFailed):
            return None
        failed = RetryableFailure(reached_peer=not error.is_before_operation)
        delay = outgoing_retry_delay(
            self.policy, attempts, failed, is_retryable=request.is_repeatable, random=random.random
        )
        return None if delay is None or self.seconds() + delay >= request.deadline else delay

    def after_response(self, request: FtpCall[Any], attempts: int, response: Any) -> float | None:
        """See RetryDecision. Rejections are errors, and final."""
        return None

    def discard(self, response: Any) -> None:
        """See RetryDecision."""

    def ends_retries(self, request: FtpCall[Any], error: Exception) -> bool:
        """See RetryDecision."""
        return isinstance(error, CircuitOpen)


class FtpConnection:
    """Implements OutgoingConnection and RemoteFiles for FTP. Raises InvalidTlsSettings."""

    _log = Logger()

    def __init__(self, value: FtpOutgoing, title: str, context: OutgoingContext, meter: Any) -> None:
        self.title = title
        self.max_content_size = value.max_content_size
        self._value = value
        self._reactor = context.reactor
        self._meter = meter
        self._run_in_thread = context.run_in_thread
        connector = SessionConnector(context.reactor, _session_settings(value), value.port, value.timeout,
                                     context.run_in_thread)  # fmt: skip
        self.pool = SessionPool(context.reactor, connector.connect, size=value.pool_size,
                                idle_timeout=value.idle_timeout)  # fmt: skip
        self._failures = FailureLog(title, context.reactor.seconds)
        attempt: Callable[[FtpCall[Any]], Awaitable[Any]] = TimeLimit(
            self._attempt, context.reactor, lambda request: max(0.0, request.deadline - context.reactor.seconds())
        ).send
        self._send_once = attempt  # without the circuit breaker
        self._breaker: CircuitBreaker | None = None
        meter.circuit_open = meter.circuit_half_open = False
        if value.circuit_breaker is not None:
            self._breaker = CircuitBreaker(value.circuit_breaker.failures, value.circuit_breaker.reset)
            attempt = CircuitBreaking(
                attempt, self._breaker, context.reactor.seconds, meter, is_failed_response=lambda _: False,
                is_failure=lambda error: isinstance(error, PEER_FAILURES),
            ).send  # fmt: skip
        if value.retry is not None and value.retry.attempts > 1:
            policy = RetryPolicy(attempts=value.retry.attempts, backoff=value.retry.backoff)
            decision = FtpRetryDecision(policy, context.reactor.seconds)
            attempt = Retrying(attempt, decision, context.reactor, meter, CallRetryBudget()).send
        self._send = attempt

    # RemoteFiles

    async def list_directory(self, path: str, call: IServiceCall) -> list[FileInfo]:
        """See RemoteFiles."""
        directory = '' if path in ('.', './') else path
        return await self._operate(lambda session: session.list_directory(directory), call, path, is_repeatable=True)

    async def find(self, path: str, call: IServiceCall) -> FileInfo | None:
        """See RemoteFiles."""
        return await self._operate(lambda session: session.info(path), call, path, is_repeatable=True)

    async def make_directory(self, path: str, call: IServiceCall) -> None:
        """See RemoteFiles."""
        await self._operate(lambda session: session.make_directory(path), call, path)

    async def remove_file(self, path: str, call: IServiceCall) -> None:
        """See RemoteFiles."""
        await self._operate(lambda session: session.remove(path), call, path)

    async def remove_directory(self, path: str, call: IServiceCall) -> None:
        """See RemoteFiles."""
        await self._operate(lambda session: session.remove_directory(path), call, path)

    async def rename(self, source: str, target: str, call: IServiceCall) -> None:
        """See RemoteFiles."""
        _check_path(target)
        await self._operate(lambda session: session.rename(source, target), call, source)

    async def open_reader(self, path: str, call: IServiceCall, *, offset: int = 0, is_bounded: bool = False
                          ) -> FtpReader:  # fmt: skip
        """See RemoteFiles."""
        limit = self.max_content_size if is_bounded else inf

        async def start(session: FtpSession) -> tuple[FtpSession, Download]:
            size = await session.size(path)
            if size is not None and size > limit:
                raise FileTooLarge(self._too_large())
            try:
                download = await Download.start(session, 'RETR', path, path=path, offset=offset)
            except CommandRejected as error:
                raise await session.explain(error) from None
            download.expected = size if self._value.check_size else None
            return session, download

        session, download, record = await self._start_transfer(start, call, path, is_repeatable=True)
        return FtpReader(self, session, download, record, call=call, limit=limit)

    async def open_writer(self, path: str, call: IServiceCall, options: WriteOptions) -> FtpWriter:
        """See RemoteFiles."""
        is_atomic = self._value.atomic_upload if options.is_atomic is None else options.is_atomic
        target = path
        if is_atomic and not options.is_append and not options.offset:
            target = f'{path}.{secrets.token_hex(4)}.part'

        async def start(session: FtpSession) -> tuple[FtpSession, Upload]:
            name = 'APPE' if options.is_append else 'STOR'
            upload = await Upload.start(session, name, target, path=path, offset=options.offset)
            upload.begin()
            return session, upload

        session, upload, record = await self._start_transfer(start, call, path)
        return FtpWriter(self, session, upload, record, call=call, target=target,
                         checks_size=self._value.check_size and not options.is_append)  # fmt: skip

    def not_found(self, path: str, call: IServiceCall) -> RemoteFileNotFound:
        """See RemoteFiles."""
        return not_found_error(path, self.title, call.cid)

    def run_in_thread(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """See RemoteFiles."""
        return self._run_in_thread(function, *args)

    # OutgoingConnection

    async def ping(self, call: IServiceCall) -> str:
        """Send NOOP; return it with the reply and the time of the response. Ignores the circuit breaker."""
        began = self._reactor.seconds()
        request = FtpCall(lambda session: session.require('NOOP'), self._deadline(call))
        reply = await self._observed(self._send_once(request), call, '')
        taken = (self._reactor.seconds() - began) * 1000
        return f'Sent NOOP, received {reply} in {taken:.1f} ms'

    def retire(self) -> None:
        """Keep no idle connections. Transfers under way end in the normal way."""
        self.pool.retire()

    def end(self) -> Deferred[None]:
        """Take no further operations. Fires when those under way are over; cancelling it cuts them."""
        return self.pool.close()

    def findings(self) -> Iterator[str]:
        """Yield why the connection does not work now."""
        if self._breaker is not None and self._breaker.state is not CLOSED:
            yield f'{self.title} is cut off by its circuit breaker: {self._failures.cause}'
        elif self._failures.cause:
            yield f'{self.title}: its last call failed: {self._failures.cause}'

    # For transfers

    def failed(self, error: BaseException, call: IServiceCall, path: str) -> BaseException:
        """Return the exception for a service, and log it if the server is not well."""
        mapped = map_error(error, self.title, call.cid, path)
        if mapped is not error:
            mapped.__cause__ = error
            if isinstance(mapped, ServiceUnavailable | Timeout):
                self._failures.failed(str(error))
        return mapped

    def succeeded(self) -> None:
        """A call succeeded."""
        if self._failures.cause:
            self._failures.recovered()

    def deadline_timer(self, call: IServiceCall, expire: Callable[[], None]) -> Any:
        """Call `expire` at the deadline of the service; returns the IDelayedCall, or None without a deadline."""
        if call.deadline == inf:
            return None
        return self._reactor.callLater(max(0.0, call.deadline - self._reactor.seconds()), expire)

    def run_in_background(self, cleanup: Callable[[], Awaitable[None]], session: FtpSession) -> None:
        """Clean up on a session after its call is over, and release it then. Each step has the connection's timeout;
        errors end the session."""

        async def run() -> None:
            try:
                await cleanup()
            except Exception as error:
                self._log.debug('{title}: cleaning up failed: {why}', title=self.title, why=str(error))
            finally:
                self.pool.release(session)

        Deferred.fromCoroutine(run())

    # Helpers

    async def _operate(
        self, operation: Callable[[FtpSession], Awaitable[T]], call: IServiceCall, path: str, *,
        is_repeatable: bool = False,
    ) -> T:
        _check_path(path)
        request = FtpCall(operation, self._deadline(call), is_repeatable=is_repeatable)
        result: T = await self._observed(self._send(request), call, path)
        return result

    async def _observed(self, sending: Awaitable[T], call: IServiceCall, path: str) -> T:
        """Count a call, and map and log its errors."""

        async def run() -> T:
            try:
                result = await sending
            except CancelledError:
                raise
            except Exception as error:
                mapped = self.failed(error, call, path)
                raise mapped from mapped.__cause__
            self.succeeded()
            return result

        return await count_call(self._meter, self._reactor.seconds, Deferred.fromCoroutine(run()))

    async def _start_transfer(
        self, start: Callable[[FtpSession], Awaitable[tuple[FtpSession, Any]]], call: IServiceCall, path: str, *,
        is_repeatable: bool = False,
    ) -> tuple[FtpSession, Any, Deferred[None]]:
        """Return session and transfer, and the Deferred that the end of the transfer fires, for the meter."""
        _check_path(path)
        record: Deferred[None] = Deferred()
        count_call(self._meter, self._reactor.seconds, record).addErrback(lambda _: None)
        try:
            request = FtpCall(start, self._deadline(call), keeps_session=True, is_repeatable=is_repeatable)
            session, transfer = await self._send(request)
        except BaseException as error:
            mapped = error if isinstance(error, CancelledError) else self.failed(error, call, path)
            record.errback(Failure(mapped))
            raise mapped from mapped.__cause__
        return session, transfer, record

    async def _attempt(self, request: FtpCall[T]) -> T:
        try:
            return await self._perform(request, is_new=False)
        except ConnectionClosed as error:
            if not error.is_stale:
                raise
        return await self._perform(request, is_new=True)

    async def _perform(self, request: FtpCall[T], *, is_new: bool) -> T:
        session = await self.pool.acquire(is_new=is_new)
        try:
            result = await request.operation(session)
        except BaseException:
            self.pool.release(session)
            raise
        if not request.keeps_session:
            self.pool.release(session)
        return result

    def _deadline(self, call: IServiceCall) -> float:
        timeout: float = self._reactor.seconds() + self._value.timeout
        return min(timeout, call.deadline)

    def _too_large(self) -> str:
        return f'it is larger than max_content_size ({self.max_content_size} bytes): open it, and read it in chunks'


def _check_path(path: str) -> None:
    if error := path_error(path):
        raise ValueError(f'the path {path!r} {error}')


def _session_settings(value: FtpOutgoing) -> SessionSettings:
    return SessionSettings(
        host=value.host, user=value.user or ANONYMOUS, password=value.password or ('' if value.user else ANONYMOUS),
        account=value.acct, tls=TlsClientFactory(tls_settings(value)) if value.tls else None,
        is_implicit_tls=value.tls == IMPLICIT, is_active=value.active_mode, encoding=value.encoding,
        max_content_size=value.max_content_size,
    )  # fmt: skip
