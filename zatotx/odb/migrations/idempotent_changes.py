"""Idempotent schema changes for migrations. A change that was already made is not made again.

Each step first checks whether it was done. On MariaDB and MySQL every DDL statement commits by itself, so an
interrupted migration leaves some steps done, and running it again completes the rest. On SQLite and PostgreSQL a
migration is one transaction, and nothing is left behind.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from zatotx.odb.column_types import BLOB, LONG_TEXT, TABLE_OPTIONS, TIMESTAMP

__all__ = [
    'BLOB',
    'LONG_TEXT',
    'TIMESTAMP',
    'add_column',
    'add_unique',
    'create_index',
    'create_table',
    'drop_unique',
    'has_table',
]


def has_table(name: str) -> bool:
    """Return whether a table exists."""
    return sa.inspect(op.get_bind()).has_table(name)


def create_table(name: str, *parts: Any, **options: Any) -> None:
    """Create a table with InnoDB and utf8mb4, regardless of the database's defaults."""
    if not has_table(name):
        op.create_table(name, *parts, **TABLE_OPTIONS, **options)


def create_index(name: str, table: str, columns: list[str]) -> None:
    """Create an index if it does not exist."""
    if name not in {index['name'] for index in sa.inspect(op.get_bind()).get_indexes(table)}:
        op.create_index(name, table, columns)


def add_column(table: str, column: sa.Column[Any]) -> None:
    """Add a column if it does not exist."""
    if column.name not in {found['name'] for found in sa.inspect(op.get_bind()).get_columns(table)}:
        op.add_column(table, column)


def add_unique(table: str, name: str, columns: list[str]) -> None:
    """Add a unique constraint if it does not exist. In SQLite, the table is recreated."""
    if name not in _unique_constraints(table):
        with op.batch_alter_table(table) as batch:
            batch.create_unique_constraint(name, columns)


def drop_unique(table: str, name: str) -> None:
    """Drop a unique constraint if it exists. In SQLite, the table is recreated."""
    if name in _unique_constraints(table):
        with op.batch_alter_table(table) as batch:
            batch.drop_constraint(name, type_='unique')


def _unique_constraints(table: str) -> set[str | None]:
    return {found['name'] for found in sa.inspect(op.get_bind()).get_unique_constraints(table)}
