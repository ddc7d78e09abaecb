"""What alembic runs. The connection, in a transaction already, comes from zatotx.odb.setup: everything an upgrade does
becomes true together, on SQLite too, where transactions hold DDL because zatotx.odb.engine begins them itself."""

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
