"""The interface of database dialects, and the timeouts that all dialects share.

Everything that waits for a database ends before `executor.DEADLINE`, so that its thread is free when the caller gets
its timeout; migrations have no waiting caller, and may take longer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from attrs import frozen
from sqlalchemy import URL, Connection, Engine

CONNECT_TIMEOUT = 3  # seconds
LOCK_TIMEOUT = 3.0  # seconds to wait for another transaction
STATEMENT_TIMEOUT = 3.5  # seconds a statement may take
IDLE_TIMEOUT = 10.0  # seconds after which a server ends an idle transaction, whose node is frozen
MIGRATION_LOCK_TIMEOUT = 60.0  # seconds to wait for another upgrade
MAX_READERS = 3

Purpose = Literal['read', 'write', 'migrate']


@frozen(kw_only=True)
class Dialect:
    """The interface of a database dialect: stateless functions and constants."""

    title: str  # the product's name, for messages
    make_engine: Callable[[URL, Purpose], Engine]
    driver: str  # module
    extra: str = ''  # the extra to install: zatotx[extra]; '' if Python includes the driver
    is_unavailable: Callable[[Exception], bool]  # whether an error is about the database, not about the statement
    error_message: Callable[[Exception], str]  # formats a driver's error as one clause
    is_retryable: Callable[[Exception], bool]  # whether retrying the transaction may succeed
    lock_schema: Callable[[Connection], None]  # serializes concurrent upgrades, for this transaction
    transactional_ddl: bool  # whether an interrupted migration leaves nothing behind


def max_connections(purpose: Purpose) -> int:
    """Return the maximum size of an engine's connection pool: one connection for each thread that uses it."""
    return MAX_READERS if purpose == 'read' else 1
