"""What every database has to offer, and the times that all of them keep to.

Everything that waits for a database ends before `lanes.DEADLINE`, so that its thread is free again when the caller is
told; a migration has nobody who waits for an answer, and may take its time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from attrs import frozen
from sqlalchemy import URL, Connection, Engine

CONNECT = 3  # seconds
LOCK = 3.0  # seconds to wait for another transaction
STATEMENT = 3.5  # seconds a statement may take
IDLE = 10.0  # seconds after which a server ends a transaction that says nothing: the node that began it is frozen
MIGRATION_LOCK = 60.0  # seconds to wait for another upgrade
READERS = 3

Purpose = Literal['read', 'write', 'migrate']


@frozen(kw_only=True)
class Dialect:
    """One database: plain functions, since nothing of it has a state."""

    title: str  # for sentences
    engine: Callable[[URL, Purpose], Engine]
    driver: str  # module
    extra: str = ''  # what to install for it: zatotx[extra]; '' where Python brings it
    is_away: Callable[[Exception], bool]  # whether a driver's error is about the database, not about our statement
    says: Callable[[Exception], str]  # a driver's error in one sentence's worth of words
    once_more: Callable[[Exception], bool]  # whether the same transaction may well succeed now
    lock_schema: Callable[[Connection], None]  # of upgrades at once one goes on, for this transaction
    transactional_ddl: bool  # whether a migration that was killed leaves nothing behind


def max_connections(purpose: Purpose) -> int:
    """How many of them an engine keeps: one for each thread that uses it."""
    return READERS if purpose == 'read' else 1
