"""Adds the table of dead letters."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from zatotx.odb.migrations.idempotent_changes import BLOB, LONG_TEXT, TIMESTAMP, create_index, create_table

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of dead letters."""
    create_table(
        'dead_letter',
        sa.Column('id', sa.Integer(), autoincrement=True, nullable=False),
        sa.Column('cluster_id', sa.Integer(), nullable=False),
        sa.Column('message_id', LONG_TEXT, nullable=False),
        sa.Column('message_key', sa.String(64), nullable=False),
        sa.Column('service', LONG_TEXT, nullable=False),
        sa.Column('service_key', sa.String(64), nullable=False),
        sa.Column('document', BLOB, nullable=False),
        sa.Column('last_failed', TIMESTAMP, nullable=False),
        sa.ForeignKeyConstraint(['cluster_id'], ['cluster.id'], name='fk_dead_letter_cluster_id'),
        sa.PrimaryKeyConstraint('id', name='pk_dead_letter'),
        sa.UniqueConstraint('cluster_id', 'message_key', name='uq_dead_letter_cluster_id_message_key'),
    )
    create_index('ix_dead_letter_cluster_id_last_failed', 'dead_letter', ['cluster_id', 'last_failed'])


def downgrade() -> None:
    """Revert the migration. All dead letters are deleted."""
    op.drop_table('dead_letter')
