"""The alembic environment script. zatotx.odb.offline_operations passes a connection with a transaction, so that an
upgrade is atomic. This includes SQLite, for which zatotx.odb.engines begins the transactions, so that they include DDL.
"""

from __future__ import annotations

from alembic import context

from zatotx.odb.tables import metadata

context.configure(
    connection=context.config.attributes['connection'],
    target_metadata=metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
