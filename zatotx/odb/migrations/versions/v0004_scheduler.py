"""Adds the table of the scheduler's leader, and columns for the time of the last change of each object, and for the
version and load of servers.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from zatotx.odb.migrations.idempotent_changes import LONG_TEXT, TIMESTAMP, add_column, create_table

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of the scheduler's leader, and add the columns. The time of the last change of existing objects
    is set to a time long ago."""
    add_column('config_object', sa.Column('changed_at', TIMESTAMP, nullable=False, server_default='0'))
    add_column('server', sa.Column('version', sa.String(64), nullable=False, server_default=''))
    add_column('server', sa.Column('cpu', TIMESTAMP, nullable=False, server_default='0'))
    add_column('server', sa.Column('in_flight', sa.Integer(), nullable=False, server_default='0'))
    create_table(
        'scheduler_leader',
        sa.Column('cluster_id', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('epoch', sa.BigInteger(), nullable=False),
        sa.Column('lease_token', sa.BigInteger(), nullable=False),
        sa.Column('node', LONG_TEXT, nullable=False),
        sa.Column('node_id', sa.Integer(), nullable=False),
        sa.Column('since', TIMESTAMP, nullable=False),
        sa.Column('confirmed_at', TIMESTAMP, nullable=False),
        sa.Column('written_until', TIMESTAMP, nullable=False),
        sa.ForeignKeyConstraint(['cluster_id'], ['cluster.id'], name='fk_scheduler_leader_cluster_id'),
        sa.PrimaryKeyConstraint('cluster_id', name='pk_scheduler_leader'),
    )


def downgrade() -> None:
    """Revert the migration, by dropping the table and the columns."""
    op.drop_table('scheduler_leader')
    for name in ('in_flight', 'cpu', 'version'):
        op.drop_column('server', name)
    op.drop_column('config_object', 'changed_at')
