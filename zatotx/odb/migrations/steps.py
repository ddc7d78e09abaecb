"""What the steps of migrations are made of.

Each looks whether it is done already. On MariaDB and MySQL every DDL statement commits by itself, so a migration that
was killed left some of its steps behind; running it again does the rest. On SQLite and PostgreSQL a migration is one
transaction, and there is never anything of it to find.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from zatotx.odb.columns import BLOB, LONG, MOMENT, TABLE

__all__ = ['BLOB', 'LONG', 'MOMENT', 'add_column', 'create_index', 'create_table', 'drop_unique', 'has_table', 'unique']


def has_table(name: str) -> bool:
    return sa.inspect(op.get_bind()).has_table(name)


def create_table(name: str, *parts: Any, **options: Any) -> None:
    """With InnoDB and utf8mb4, whatever the database's own defaults are."""
    if not has_table(name):
        op.create_table(name, *parts, **TABLE, **options)


def create_index(name: str, table: str, columns: list[str]) -> None:
    if name not in {index['name'] for index in sa.inspect(op.get_bind()).get_indexes(table)}:
        op.create_index(name, table, columns)


def add_column(table: str, column: sa.Column[Any]) -> None:
    if column.name not in {found['name'] for found in sa.inspect(op.get_bind()).get_columns(table)}:
        op.add_column(table, column)


def unique(table: str, name: str, columns: list[str]) -> None:
    """A unique constraint more. On SQLite the table is written anew."""
    if name not in _uniques(table):
        with op.batch_alter_table(table) as batch:
            batch.create_unique_constraint(name, columns)


def drop_unique(table: str, name: str) -> None:
    """A unique constraint less. On SQLite the table is written anew."""
    if name in _uniques(table):
        with op.batch_alter_table(table) as batch:
            batch.drop_constraint(name, type_='unique')


def _uniques(table: str) -> set[str | None]:
    return {found['name'] for found in sa.inspect(op.get_bind()).get_unique_constraints(table)}
