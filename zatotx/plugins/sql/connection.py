"""One SQL connection, which runs the statements of services in the threads of its pool, with timeouts, meters and a log
of failures.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from math import ceil
from threading import Thread
from typing import Any, TypeVar

from sqlalchemy import Connection
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from zatotx.connectors.blocking_pool import BlockingPool, SlotHeldByCaller, SlotLease
from zatotx.connectors.call_policies import CircuitBreaking, CircuitOpen
from zatotx.connectors.failure_log import FailureLog
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.interfaces.meters import IOutgoingMeter, count_call
from zatotx.interfaces.outgoing import IServiceCall
from zatotx.interfaces.reactor import IReactor
from zatotx.model.errors import ServiceUnavailable, Timeout, TransactionAborted
from zatotx.plugins.sql.cancellation import Cancellation
from zatotx.plugins.sql.database import SqlDatabase, dbapi_of
from zatotx.plugins.sql.drivers.selection import select_driver
from zatotx.plugins.sql.engine_options import parse_engine_options
from zatotx.plugins.sql.error_mapping import ErrorMapping
from zatotx.plugins.sql.schema import SqlOutgoing, location
from zatotx.rules.resilience.circuit_breaker import CLOSED, CircuitBreaker

T = TypeVar('T')
SIZE_INTERVAL = 0.05  # seconds between two checks of the sizes of results
UNPOOLED = 5  # connections at once where none is kept


class SqlConnection:
    """Implements OutgoingConnection for SQL. Raises ValueError if the driver is missing."""

    def __init__(self, value: SqlOutgoing, title: str, context: OutgoingContext, meter: IOutgoingMeter) -> None:
        url = location(value)
        driver = select_driver(url)
        size = value.pool_size or UNPOOLED
        self.title = title
        self.timeout = value.timeout
        self.reactor: IReactor = context.reactor
        self.database = SqlDatabase(
            url, value.password, driver, pool_size=value.pool_size, timeout=value.timeout,
            max_result_size=value.max_result_size, options=parse_engine_options(value.extra)[0],
        )  # fmt: skip
        self.pool = BlockingPool(context.reactor, size, f'sql-{value.name}')
        self._errors = ErrorMapping(title=title, driver=driver, pool_size=size,
                                    max_result_size=value.max_result_size, password=value.password)
        self._failures = FailureLog(title, context.reactor.seconds)
        self._meter = meter
        self._breaking: CircuitBreaking[Callable[[], Awaitable[Any]], Any] | None = None
        if value.circuit_breaker is not None:
            self._breaking = CircuitBreaking(
                inner=_begin, breaker=CircuitBreaker(value.circuit_breaker.failures, value.circuit_breaker.reset),
                seconds=context.reactor.seconds, meter=meter, is_failed_response=lambda response: False,
                is_failure=_is_failure,
            )  # fmt: skip
        self._offload = context.run_in_thread
        self._max_result_size = value.max_result_size
        self._watched: set[Cancellation] = set()  # of the statements that run
        self._size_timer: IDelayedCall | None = None

    async def guarded(self, begin: Callable[[], Awaitable[T]], call: IServiceCall) -> T:
        """Begin something with the database, unless the circuit breaker is open."""
        if self._breaking is None:
            return await begin()
        try:
            result: T = await self._breaking.send(begin)
        except CircuitOpen as error:
            raise self._circuit_open(error.wait, call) from None
        return result

    def require_closed_circuit(self, call: IServiceCall) -> None:
        """Raise ServiceUnavailable if the circuit breaker is open."""
        wait = 0.0 if self._breaking is None else self._breaking.breaker.wait_time(self.reactor.seconds())
        if wait:
            raise self._circuit_open(wait, call)

    def run(self, work: Callable[[Connection], T], call: IServiceCall, timeout: float | None = None) -> Deferred[T]:
        """Run a function with a connection in autocommit mode. `timeout`: seconds, None = the connection's."""
        cancellation = Cancellation(self.database.driver)
        running = self.pool.run(self.database.run, work, cancellation, timeout=self.remaining(call, timeout),
                                interrupt=cancellation.interrupt, owner=call.request)  # fmt: skip
        self.watch_size(running, cancellation)
        return self.observe(running, call)

    def watch_size(self, running: Deferred[Any], cancellation: Cancellation) -> None:
        """Cancel a statement whose result becomes too large."""
        self._watched.add(cancellation)
        if self._size_timer is None:
            self._size_timer = self.reactor.callLater(SIZE_INTERVAL, self._check_sizes)
        running.addBoth(self._unwatch, cancellation)

    def lease(self, call: IServiceCall, revoked: Callable[[], object]) -> Deferred[SlotLease]:
        """Lease one of the pool's connections for several statements."""
        leasing = self.pool.lease(timeout=self.remaining(call, None), owner=call.request, revoked=revoked)
        return leasing.addErrback(self._failed, call.cid)

    def observe(self, running: Deferred[T], call: IServiceCall) -> Deferred[T]:
        """Count a call, and map and log its errors."""
        running.addCallbacks(self._succeeded, self._failed, errbackArgs=(call.cid,))
        return count_call(self._meter, self.reactor.seconds, running)

    def map_error(self, error: BaseException, cid: str) -> BaseException:
        """Return the error that a service gets. May be called in any thread."""
        mapped = self._errors.map(error, cid)
        if mapped is not error:
            mapped.__cause__ = error
        return mapped

    def observe_statement(self, seconds: float, error: BaseException | None) -> None:
        """Count a statement of a session that has ended."""
        self._meter.observe(seconds)
        if error is None:
            self._succeeded(None)
        else:
            self._meter.count_error(type(error).__name__)
            self._note_failure(error)

    def remaining(self, call: IServiceCall, timeout: float | None) -> float:
        """Seconds that a statement may take."""
        limit = self.timeout if timeout is None else timeout
        remaining: float = call.deadline - self.reactor.seconds()
        return min(limit, max(0.0, remaining))

    # OutgoingConnection

    async def ping(self, call: IServiceCall) -> str:
        """Execute the ping statement of the database; return it with the time of its response."""
        driver = self.database.driver
        began = self.reactor.seconds()
        await self.run(lambda connection: driver.ping(dbapi_of(connection)), call)
        taken = (self.reactor.seconds() - began) * 1000
        return f'{driver.ping_statement} on {driver.title} took {taken:.1f} ms'

    def retire(self) -> None:
        """Take no further calls. Statements, transactions and sessions under way end in the normal way."""
        self.pool.drain().addCallback(self._dispose)

    def end(self) -> Deferred[None]:
        """Cancel what is under way, and close all connections."""
        return self.pool.close().addCallback(self._dispose)

    def findings(self) -> Iterator[str]:
        """Yield what keeps the connection from working now."""
        breaking = self._breaking
        if breaking is not None and breaking.breaker.state is not CLOSED:
            failures = breaking.breaker.failure_threshold
            yield f'{self.title} is cut off by its circuit breaker, after {failures} failures in a row'
        if self._failures.cause:
            yield f'{self.title}: its last statement failed: {self._failures.cause}'

    def _circuit_open(self, wait: float, call: IServiceCall) -> ServiceUnavailable:
        return ServiceUnavailable(call.cid, f'{self.title} cannot be used: it is cut off by its circuit breaker',
                                  ceil(wait))  # fmt: skip

    def _unwatch(self, result: Any, cancellation: Cancellation) -> Any:
        self._watched.discard(cancellation)
        if not self._watched and self._size_timer is not None:
            self._size_timer.cancel()
            self._size_timer = None
        return result

    def _check_sizes(self) -> None:
        self._size_timer = self.reactor.callLater(SIZE_INTERVAL, self._check_sizes)
        for cancellation in self._watched:
            if cancellation.exceeds(self._max_result_size):
                Thread(target=cancellation.interrupt, name='sql-result-too-large', daemon=True).start()

    def _dispose(self, _: None) -> Deferred[None]:
        disposing: Deferred[None] = self._offload(self.database.dispose)
        return disposing

    def _succeeded(self, result: T) -> T:
        if self._failures.cause:
            self._failures.recovered()
        return result

    def _failed(self, failure: Failure, cid: str) -> Failure:
        error = failure.value
        assert error is not None
        mapped = self.map_error(error, cid)
        if mapped is error:
            return failure
        self._note_failure(mapped)
        return Failure(mapped)

    def _note_failure(self, error: BaseException) -> None:
        if _is_failure(error):
            assert isinstance(error, ServiceUnavailable | Timeout)
            cause = '' if error.__cause__ is None else self._errors.explain(error.__cause__)
            self._failures.failed(cause or error.msg)


async def _begin(begin: Callable[[], Awaitable[T]]) -> T:
    return await begin()


def _is_failure(error: BaseException) -> bool:
    """Whether an error says that the database does not work."""
    if not isinstance(error, ServiceUnavailable | Timeout) or isinstance(error, TransactionAborted):
        return False
    return not isinstance(error.__cause__, SlotHeldByCaller)
