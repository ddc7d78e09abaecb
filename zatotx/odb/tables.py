"""Defines the tables of the ODB in SQLAlchemy Core. They behave the same on every database:

- names are compared by the SHA-256 of their exact UTF-8 (`*_key`), independent of collations and index lengths;
- documents are JSON in text columns, which are wide enough on MySQL, too; times are Unix time in floats;
- ids of objects come from a counter row, so they are never reused and are known before the insert.

`migrations/` creates them, with `columns.TABLE_OPTIONS`; a test compares both. Options of MySQL here would load its
dialect in every server.
"""

from __future__ import annotations

from hashlib import sha256

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from zatotx.odb.column_types import BLOB, LONG_TEXT, TIMESTAMP

SCHEMA_VERSION = '0004'  # the newest migration, which this code needs; checked by a test
# The oldest version whose code can use this schema, as long as nodes are upgraded one after another. A migration that
# older nodes can live with leaves it as it is: new tables, and new columns with a server default.
COMPATIBLE_SINCE = '0004'
COMPATIBLE_SINCE_COUNTER = 'schema {} compatible since'  # the row of `counter` with that number, by schema version

metadata = MetaData(
    naming_convention={
        'pk': 'pk_%(table_name)s',
        'uq': 'uq_%(table_name)s_%(column_0_N_name)s',
        'fk': 'fk_%(table_name)s_%(column_0_N_name)s',
        'ix': 'ix_%(table_name)s_%(column_0_N_name)s',
    }
)


def hash_name(text: str) -> str:
    """Return the hash that represents a name in unique constraints and comparisons. Two hashes are equal only if the
    names consist of the same code points."""
    return sha256(text.encode('utf-8')).hexdigest()


def _id() -> Column[int]:
    return Column('id', Integer, primary_key=True, autoincrement=True)


def _cluster() -> Column[int]:
    return Column('cluster_id', Integer, ForeignKey('cluster.id'), nullable=False)


def _text(name: str, type_: Text | String = LONG_TEXT, default: str = '') -> Column[str]:
    return Column(name, type_, nullable=False, default=default)


cluster = Table(
    'cluster',
    metadata,
    _id(),
    _text('name'),
    Column('name_key', String(64), nullable=False, unique=True),
    Column('revision', BigInteger, nullable=False),
    Column('created', TIMESTAMP, nullable=False),
    _text('key_check'),  # a known text, encrypted: detects a server with another key
    # the revision from which on object_version has every state
    Column('kept_since', BigInteger, nullable=False, server_default='0'),
)

counter = Table(
    'counter',
    metadata,
    Column('name', String(64), primary_key=True),
    Column('value', BigInteger, nullable=False),
)

config_object = Table(
    'config_object',
    metadata,
    Column('id', BigInteger, primary_key=True, autoincrement=False),
    _cluster(),
    Column('type', String(64), nullable=False),
    # the namespace in which the name is unique: zatotx.schema.type_registry.namespace_of
    Column('space', String(64), nullable=False),
    _text('name'),
    Column('name_key', String(64), nullable=False),
    Column('unique_key', String(64), nullable=True),  # key of ObjectType.unique, if the type has one
    _text('document'),  # JSON: references are ids, secrets encrypted or hashed
    Column('revision', BigInteger, nullable=False),
    # when it was created or last edited; unlike the revision, not when an object that it refers to was renamed
    Column('changed_at', TIMESTAMP, nullable=False, server_default='0'),
    UniqueConstraint('cluster_id', 'space', 'name_key'),
    UniqueConstraint('cluster_id', 'type', 'unique_key'),
    Index('ix_config_object_cluster_id_revision', 'cluster_id', 'revision'),
)

reference = Table(
    'reference',
    metadata,
    Column('source_id', BigInteger, ForeignKey('config_object.id'), primary_key=True, autoincrement=False),
    Column('field', String(64), primary_key=True),
    Column('target_id', BigInteger, ForeignKey('config_object.id'), nullable=False, index=True),
)

tombstone = Table(
    'tombstone',
    metadata,
    Column('object_id', BigInteger, primary_key=True, autoincrement=False),
    _cluster(),
    Column('revision', BigInteger, nullable=False),
    Index('ix_tombstone_cluster_id_revision', 'cluster_id', 'revision'),
)

# Every state of each object: the configuration at any revision since `cluster.kept_since` is built from them.
object_version = Table(
    'object_version',
    metadata,
    Column('object_id', BigInteger, primary_key=True, autoincrement=False),
    Column('revision', BigInteger, primary_key=True, autoincrement=False),
    _cluster(),
    Column('type', String(64), nullable=False),
    _text('name'),
    _text('document'),  # as in config_object: secrets encrypted or hashed
    Column('deleted', Boolean, nullable=False),
    Index('ix_object_version_cluster_id_revision', 'cluster_id', 'revision'),
)

history = Table(
    'history',
    metadata,
    _id(),
    _cluster(),
    Column('revision', BigInteger, nullable=False),
    Column('at', TIMESTAMP, nullable=False),
    _text('who'),
    _text('source'),  # where the change came from: the name of a channel or command
    _text('cid', String(64)),
    Column('action', String(32), nullable=False),
    Column('type', String(64), nullable=False),
    _text('name'),
    _text('old', default='{}'),  # JSON, secrets masked
    _text('new', default='{}'),
    # 0 if the entry is not about an object, such as a deployment
    Column('object_id', BigInteger, nullable=False, server_default='0'),
    Column('address', String(255), nullable=False, server_default=''),  # of the caller
    Index('ix_history_cluster_id_revision', 'cluster_id', 'revision'),
)

server = Table(
    'server',
    metadata,
    _id(),
    _cluster(),
    _text('name'),
    Column('name_key', String(64), nullable=False),
    _text('host'),
    _text('bind_host'),
    Column('bind_port', Integer, nullable=False, default=0),
    _text('up_status', String(32)),
    Column('seen_at', TIMESTAMP, nullable=False, default=0.0),
    Column('applied_revision', BigInteger, nullable=False, default=0),
    Column('pid', Integer, nullable=False, default=0),
    _text('last_join_status', String(32), default='accepted'),
    Column('worker', Integer, nullable=False, server_default='0'),  # 0: the first or only worker
    Column('version', String(64), nullable=False, server_default=''),  # of zatotx
    Column('cpu', TIMESTAMP, nullable=False, server_default='0'),  # share of a core that it uses
    Column('in_flight', Integer, nullable=False, server_default='0'),
    UniqueConstraint('cluster_id', 'name_key', 'worker'),
)

file_version = Table(
    'file_version',
    metadata,
    _id(),
    _cluster(),
    _text('file'),
    Column('file_key', String(64), nullable=False),
    Column('number', Integer, nullable=False),
    Column('form', String(16), nullable=False),
    Column('sha256', String(64), nullable=False),
    Column('content', BLOB, nullable=False),
    Column('created', TIMESTAMP, nullable=False),
    _text('by'),
    Column('active', Boolean, nullable=False),
    _text('services', default='[]'),  # JSON
    Column('revision', BigInteger, nullable=False),
    UniqueConstraint('cluster_id', 'file_key', 'number'),
    sqlite_autoincrement=True,
)

version_verdict = Table(
    'version_verdict',
    metadata,
    Column('version_id', Integer, ForeignKey('file_version.id'), primary_key=True, autoincrement=False),
    Column('server_id', Integer, ForeignKey('server.id'), primary_key=True, autoincrement=False),
    _text('verdict'),
    Column('at', TIMESTAMP, nullable=False),
)

# Messages that were given up, as zatotx.model.work_message.WorkMessage.
dead_letter = Table(
    'dead_letter',
    metadata,
    _id(),
    _cluster(),
    _text('message_id'),
    Column('message_key', String(64), nullable=False),
    _text('service'),
    Column('service_key', String(64), nullable=False),
    Column('document', BLOB, nullable=False),  # MessagePack, encrypted: see Secrets.encrypt_document
    Column('last_failed', TIMESTAMP, nullable=False),
    UniqueConstraint('cluster_id', 'message_key'),
    Index('ix_dead_letter_cluster_id_last_failed', 'cluster_id', 'last_failed'),
)

# The leader of the scheduler, as zatotx.interfaces.scheduler.LeaderRecord.
scheduler_leader = Table(
    'scheduler_leader',
    metadata,
    Column('cluster_id', Integer, ForeignKey('cluster.id'), primary_key=True, autoincrement=False),
    Column('epoch', BigInteger, nullable=False),
    Column('lease_token', BigInteger, nullable=False),
    _text('node'),
    Column('node_id', Integer, nullable=False),
    Column('since', TIMESTAMP, nullable=False),
    Column('confirmed_at', TIMESTAMP, nullable=False),
    Column('written_until', TIMESTAMP, nullable=False),
)
