"""Transactions on the ODB: in the thread that calls (Database), and in the ODB's threads from the reactor (Access)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import SystemRandom
from typing import TypeVar

from attrs import define, field, frozen
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from twisted.internet.defer import Deferred

from zatotx.model.errors import ServiceUnavailable
from zatotx.odb.documents import has_secrets, prepare
from zatotx.odb.engine import dialect_of, make_engine
from zatotx.odb.engines.dialect import Dialect
from zatotx.odb.error_mapping import map_error, reason
from zatotx.odb.executor import CancellableCall, DatabaseExecutor
from zatotx.odb.mutations import apply_operations
from zatotx.odb.schema_state import require_current
from zatotx.odb.secrets import Secrets
from zatotx.odb.statement_context import Cluster, Transaction, begin, find_cluster
from zatotx.odb.urls import mask_password
from zatotx.schema.snapshot import Actor, Operation
from zatotx.schema.type_registry import ObjectTypes

ATTEMPTS = 6  # at one write: a deadlock, a lost race
AT_ONCE = 1.0  # seconds within which a cut connection is replaced by another, once
PAUSE = 0.02  # seconds at most after the first of them; twice as long after each

_T = TypeVar('_T')
_random = SystemRandom()


@define(kw_only=True)
class Database:
    """One cluster of the ODB at a URL. That the ODB is of this version and has the cluster is looked at until it was so
    once, so an ODB that is away at the start is found when it comes."""

    url: str = field(repr=mask_password)
    cluster: str
    types: ObjectTypes = field(repr=False)
    secrets: Secrets = field(repr=False)
    _room: Dialect = field(init=False, repr=False)
    _reading: Engine = field(init=False, repr=False)
    _writing: Engine = field(init=False, repr=False)
    _found: Cluster | None = field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._room = dialect_of(self.url)
        self._reading = make_engine(self.url, 'read')
        self._writing = make_engine(self.url, 'write')

    def read(self, function: Callable[[Connection, Cluster], _T]) -> _T:
        """The function in a transaction that sees one moment. Raises faults."""
        with error_mapping(self.url):
            began = time.monotonic()
            try:
                return self._read_once(function)
            except DBAPIError as error:
                if not _cut(error, began):
                    raise
            return self._read_once(function)

    def write(self, call: CancellableCall, function: Callable[[Connection, Cluster], _T]) -> _T:
        """The function in a transaction that writes; committed unless the call was given up. Where the database gave it
        up for the sake of another one, or its connection was cut, it is begun again, so the function may run more than
        once. Raises ServiceUnavailable that says so where nobody knows whether it was committed."""
        with error_mapping(self.url):
            for attempt in range(1, ATTEMPTS):
                began = time.monotonic()
                try:
                    return self._write_once(call, function)
                except DBAPIError as error:
                    cut = error.connection_invalidated
                    if cut and call.commits:
                        raise ServiceUnavailable(None, self._unconfirmed(error)) from error
                    if not (attempt == 1 and _cut(error, began) if cut else self._room.once_more(error)):
                        raise
                call.again()
                time.sleep(_random.uniform(0, PAUSE * 2**attempt))  # the thread's own: not the reactor's
            return self._write_once(call, function)

    def _unconfirmed(self, error: DBAPIError) -> str:
        why = reason(error, self.url)
        return f'The ODB ({mask_password(self.url)}) did not confirm a commit: look whether it was made ({why})'

    def _read_once(self, function: Callable[[Connection, Cluster], _T]) -> _T:
        with self._reading.connect() as connection, connection.begin():
            return function(connection, self._cluster(connection))

    def _write_once(self, call: CancellableCall, function: Callable[[Connection, Cluster], _T]) -> _T:
        with self._writing.connect() as connection, connection.begin():
            call.check()  # being connected is no progress yet: that is the cluster's lock, which may be somebody else's
            result = function(connection, self._cluster(connection))
            call.committing()
        return result

    def close(self) -> None:
        """Close what is not in use."""
        self._reading.dispose()
        self._writing.dispose()

    def _cluster(self, connection: Connection) -> Cluster:
        if self._found is None:
            require_current(connection, self.url)
            self._found = find_cluster(connection, self.cluster, self.types, self.secrets)
        return self._found


def _cut(error: DBAPIError, began: float) -> bool:
    """Whether the connection was cut, as by an administrator or a failover, and another one may do better: not where
    that took so long that the server is rather frozen."""
    return error.connection_invalidated and time.monotonic() - began < AT_ONCE


@contextmanager
def error_mapping(url: str) -> Iterator[None]:
    """Turn what the database raises into faults."""
    try:
        yield
    except Exception as error:
        fault = map_error(error, url)
        if fault is error:
            raise
        raise fault from error


@frozen(kw_only=True)
class AsyncDatabase:
    """The way from the reactor to the Database: one thread writes, a few read, one hashes."""

    database: Database
    hashing: DatabaseExecutor
    reading: DatabaseExecutor
    writing: DatabaseExecutor

    def read(self, function: Callable[[Connection, Cluster], _T]) -> Deferred[_T]:
        return self.reading.run(lambda call: self.database.read(function))

    def read_much(self, function: Callable[[Connection, Cluster, Callable[[], None]], _T]) -> Deferred[_T]:
        """Likewise, for what may take its time: the function says every now and then that it moves on."""
        return self.reading.run(
            lambda call: self.database.read(lambda connection, cluster: function(connection, cluster, call.moved))
        )

    def write(self, function: Callable[[Connection, Cluster], _T]) -> Deferred[_T]:
        """A write that is no change of the configuration."""
        return self.writing.run(lambda call: self.database.write(call, function))

    def transact(self, actor: Actor, function: Callable[[Transaction], _T]) -> Deferred[_T]:
        """A change of the configuration."""

        def within(call: CancellableCall) -> _T:
            return self.database.write(call, lambda c, cluster: function(begin(c, cluster, actor, call.moved)))

        return self.writing.run(within)

    async def change(self, operations: Sequence[Operation], actor: Actor) -> int:
        """Secrets are hashed before the transaction, whose lock they would hold for long."""
        types, secrets = self.database.types, self.database.secrets
        if has_secrets(types, operations):
            clear = operations
            operations = await self.hashing.run(lambda call: prepare(types, secrets, clear, call.moved))
        ready = operations
        return await self.transact(actor, lambda t: apply_operations(t, ready))

    async def close(self) -> None:
        """Let what is under way end, then the threads and connections."""
        for lane in (self.hashing, self.writing, self.reading):
            await lane.close()
        self.database.close()
