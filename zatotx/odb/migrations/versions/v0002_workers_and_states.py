"""Adds a row for each worker, the table of object states at all revisions, and the address from which each change was
made.

The states begin with the present ones: `cluster.kept_since` is the revision from which on all are known.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from zatotx.odb.migrations.idempotent_changes import (
    LONG_TEXT,
    add_column,
    add_unique,
    create_index,
    create_table,
    drop_unique,
)

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None

NAMED = 'uq_server_cluster_id_name_key'
NAMED_WITH_WORKER = 'uq_server_cluster_id_name_key_worker'


def upgrade() -> None:
    """Add the columns for workers and addresses, and create the states table."""
    add_column('server', sa.Column('worker', sa.Integer(), nullable=False, server_default='0'))
    # added before the other is dropped: MySQL needs one
    add_unique('server', NAMED_WITH_WORKER, ['cluster_id', 'name_key', 'worker'])
    drop_unique('server', NAMED)
    add_column('history', sa.Column('object_id', sa.BigInteger(), nullable=False, server_default='0'))
    add_column('history', sa.Column('address', sa.String(255), nullable=False, server_default=''))
    add_column('cluster', sa.Column('kept_since', sa.BigInteger(), nullable=False, server_default='0'))
    _object_version()
    _insert_present_states()


def downgrade() -> None:
    """Revert the migration. For each server, only the row of the first worker is kept."""
    op.drop_table('object_version')
    op.drop_column('cluster', 'kept_since')
    op.drop_column('history', 'address')
    op.drop_column('history', 'object_id')
    op.execute('DELETE FROM version_verdict WHERE server_id IN (SELECT id FROM server WHERE worker > 0)')
    op.execute('DELETE FROM server WHERE worker > 0')
    add_unique('server', NAMED, ['cluster_id', 'name_key'])
    drop_unique('server', NAMED_WITH_WORKER)
    op.drop_column('server', 'worker')


def _object_version() -> None:
    create_table(
        'object_version',
        sa.Column('object_id', sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column('revision', sa.BigInteger(), nullable=False),
        sa.Column('cluster_id', sa.Integer(), nullable=False),
        sa.Column('type', sa.String(64), nullable=False),
        sa.Column('name', LONG_TEXT, nullable=False),
        sa.Column('document', LONG_TEXT, nullable=False),
        sa.Column('deleted', sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(['cluster_id'], ['cluster.id'], name='fk_object_version_cluster_id'),
        sa.PrimaryKeyConstraint('object_id', 'revision', name='pk_object_version'),
    )
    create_index('ix_object_version_cluster_id_revision', 'object_version', ['cluster_id', 'revision'])


def _insert_present_states() -> None:
    """Insert the present states. Data comes last: on MySQL, these statements and the migration's number are committed
    together."""
    op.execute('DELETE FROM object_version')
    same = ('revision', 'cluster_id', 'type', 'name', 'document')
    objects = sa.table('config_object', sa.column('id'), *map(sa.column, same))
    states = sa.table('object_version', sa.column('object_id'), sa.column('deleted'), *map(sa.column, same))
    now = sa.select(objects.c.id, sa.false(), *(objects.c[name] for name in same))
    op.execute(sa.insert(states).from_select(['object_id', 'deleted', *same], now))
    op.execute('UPDATE cluster SET kept_since = revision')
