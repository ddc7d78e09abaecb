"""Creates the tables of the first version of the schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from zatotx.odb.migrations.idempotent_changes import BLOB, LONG_TEXT, TIMESTAMP, create_index, create_table

revision = '0001'
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of the first version of the schema."""
    _cluster()
    _counter()
    _config_object()
    _file_version()
    _history()
    _server()
    _tombstone()
    _reference()
    _version_verdict()


def downgrade() -> None:
    """Drop all tables."""
    for name in (
        'version_verdict',
        'reference',
        'tombstone',
        'server',
        'history',
        'file_version',
        'config_object',
        'counter',
        'cluster',
    ):
        op.drop_table(name)


def _cluster() -> None:
    create_table(
        'cluster',
        sa.Column('id', sa.Integer(), autoincrement=True, nullable=False),
        sa.Column('name', LONG_TEXT, nullable=False),
        sa.Column('name_key', sa.String(64), nullable=False),
        sa.Column('revision', sa.BigInteger(), nullable=False),
        sa.Column('created', TIMESTAMP, nullable=False),
        sa.Column('key_check', LONG_TEXT, nullable=False),
        sa.PrimaryKeyConstraint('id', name='pk_cluster'),
        sa.UniqueConstraint('name_key', name='uq_cluster_name_key'),
    )


def _counter() -> None:
    create_table(
        'counter',
        sa.Column('name', sa.String(64), nullable=False),
        sa.Column('value', sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint('name', name='pk_counter'),
    )


def _config_object() -> None:
    create_table(
        'config_object',
        sa.Column('id', sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column('cluster_id', sa.Integer(), nullable=False),
        sa.Column('type', sa.String(64), nullable=False),
        sa.Column('space', sa.String(64), nullable=False),
        sa.Column('name', LONG_TEXT, nullable=False),
        sa.Column('name_key', sa.String(64), nullable=False),
        sa.Column('unique_key', sa.String(64), nullable=True),
        sa.Column('document', LONG_TEXT, nullable=False),
        sa.Column('revision', sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(['cluster_id'], ['cluster.id'], name='fk_config_object_cluster_id'),
        sa.PrimaryKeyConstraint('id', name='pk_config_object'),
        sa.UniqueConstraint('cluster_id', 'space', 'name_key', name='uq_config_object_cluster_id_space_name_key'),
        sa.UniqueConstraint('cluster_id', 'type', 'unique_key', name='uq_config_object_cluster_id_type_unique_key'),
    )
    create_index('ix_config_object_cluster_id_revision', 'config_object', ['cluster_id', 'revision'])


def _file_version() -> None:
    create_table(
        'file_version',
        sa.Column('id', sa.Integer(), autoincrement=True, nullable=False),
        sa.Column('cluster_id', sa.Integer(), nullable=False),
        sa.Column('file', LONG_TEXT, nullable=False),
        sa.Column('file_key', sa.String(64), nullable=False),
        sa.Column('number', sa.Integer(), nullable=False),
        sa.Column('form', sa.String(16), nullable=False),
        sa.Column('sha256', sa.String(64), nullable=False),
        sa.Column('content', BLOB, nullable=False),
        sa.Column('created', TIMESTAMP, nullable=False),
        sa.Column('by', LONG_TEXT, nullable=False),
        sa.Column('active', sa.Boolean(), nullable=False),
        sa.Column('services', LONG_TEXT, nullable=False),
        sa.Column('revision', sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(['cluster_id'], ['cluster.id'], name='fk_file_version_cluster_id'),
        sa.PrimaryKeyConstraint('id', name='pk_file_version'),
        sa.UniqueConstraint('cluster_id', 'file_key', 'number', name='uq_file_version_cluster_id_file_key_number'),
        sqlite_autoincrement=True,
    )


def _history() -> None:
    create_table(
        'history',
        sa.Column('id', sa.Integer(), autoincrement=True, nullable=False),
        sa.Column('cluster_id', sa.Integer(), nullable=False),
        sa.Column('revision', sa.BigInteger(), nullable=False),
        sa.Column('at', TIMESTAMP, nullable=False),
        sa.Column('who', LONG_TEXT, nullable=False),
        sa.Column('source', LONG_TEXT, nullable=False),
        sa.Column('cid', sa.String(64), nullable=False),
        sa.Column('action', sa.String(32), nullable=False),
        sa.Column('type', sa.String(64), nullable=False),
        sa.Column('name', LONG_TEXT, nullable=False),
        sa.Column('old', LONG_TEXT, nullable=False),
        sa.Column('new', LONG_TEXT, nullable=False),
        sa.ForeignKeyConstraint(['cluster_id'], ['cluster.id'], name='fk_history_cluster_id'),
        sa.PrimaryKeyConstraint('id', name='pk_history'),
    )
    create_index('ix_history_cluster_id_revision', 'history', ['cluster_id', 'revision'])


def _server() -> None:
    create_table(
        'server',
        sa.Column('id', sa.Integer(), autoincrement=True, nullable=False),
        sa.Column('cluster_id', sa.Integer(), nullable=False),
        sa.Column('name', LONG_TEXT, nullable=False),
        sa.Column('name_key', sa.String(64), nullable=False),
        sa.Column('host', LONG_TEXT, nullable=False),
        sa.Column('bind_host', LONG_TEXT, nullable=False),
        sa.Column('bind_port', sa.Integer(), nullable=False),
        sa.Column('up_status', sa.String(32), nullable=False),
        sa.Column('seen_at', TIMESTAMP, nullable=False),
        sa.Column('applied_revision', sa.BigInteger(), nullable=False),
        sa.Column('pid', sa.Integer(), nullable=False),
        sa.Column('last_join_status', sa.String(32), nullable=False),
        sa.ForeignKeyConstraint(['cluster_id'], ['cluster.id'], name='fk_server_cluster_id'),
        sa.PrimaryKeyConstraint('id', name='pk_server'),
        sa.UniqueConstraint('cluster_id', 'name_key', name='uq_server_cluster_id_name_key'),
    )


def _tombstone() -> None:
    create_table(
        'tombstone',
        sa.Column('object_id', sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column('cluster_id', sa.Integer(), nullable=False),
        sa.Column('revision', sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(['cluster_id'], ['cluster.id'], name='fk_tombstone_cluster_id'),
        sa.PrimaryKeyConstraint('object_id', name='pk_tombstone'),
    )
    create_index('ix_tombstone_cluster_id_revision', 'tombstone', ['cluster_id', 'revision'])


def _reference() -> None:
    create_table(
        'reference',
        sa.Column('source_id', sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column('field', sa.String(64), nullable=False),
        sa.Column('target_id', sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(['source_id'], ['config_object.id'], name='fk_reference_source_id'),
        sa.ForeignKeyConstraint(['target_id'], ['config_object.id'], name='fk_reference_target_id'),
        sa.PrimaryKeyConstraint('source_id', 'field', name='pk_reference'),
    )
    create_index('ix_reference_target_id', 'reference', ['target_id'])


def _version_verdict() -> None:
    create_table(
        'version_verdict',
        sa.Column('version_id', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('server_id', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('verdict', LONG_TEXT, nullable=False),
        sa.Column('at', TIMESTAMP, nullable=False),
        sa.ForeignKeyConstraint(['server_id'], ['server.id'], name='fk_version_verdict_server_id'),
        sa.ForeignKeyConstraint(['version_id'], ['file_version.id'], name='fk_version_verdict_version_id'),
        sa.PrimaryKeyConstraint('version_id', 'server_id', name='pk_version_verdict'),
    )
