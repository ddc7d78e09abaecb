"""A real ODB for a test: a file of its own, the object types that every node has, and REST channels."""

from __future__ import annotations

import shutil
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from zatotx.interfaces.config import IConfigStore
from zatotx.odb import migrations
from zatotx.odb.access import Database
from zatotx.odb.nodes import Address
from zatotx.odb.secrets import new_key
from zatotx.odb.setup import NewCluster, create, open_database
from zatotx.odb.store import open_store
from zatotx.odb.tables import SCHEMA
from zatotx.plugins.http.schema import OBJECT_TYPES
from zatotx.schema.builtin import BUILTIN_TYPES
from zatotx.schema.snapshot import Actor, Operation
from zatotx.schema.types import ObjectTypes

TYPES = ObjectTypes((*BUILTIN_TYPES, *OBJECT_TYPES))
CLUSTER = 'test'
ME = Actor('me', '127.0.0.1', '0123456789abcdef01234567')
KEY = new_key()  # of this run


def user(name: str, password: str = 'sesame', **fields: object) -> Operation:
    """Create a security definition."""
    made = {'name': name, 'username': name, 'password': password, **fields}
    return Operation(action='create', type='basic_auth', name=name, fields=made)


def service(name: str, **fields: object) -> Operation:
    """Create a service's row."""
    return Operation(action='create', type='service', name=name, fields={'name': name, **fields})


def channel(name: str, **fields: object) -> Operation:
    """Create a REST channel of the service `echo`."""
    made = {'name': name, 'url_path': f'/{name}', 'service': 'echo', **fields}
    return Operation(action='create', type='channel_rest', name=name, fields=made)


def edit(type_: str, object_id: int, **fields: object) -> Operation:
    return Operation(action='edit', type=type_, name='', id=object_id, fields=fields)


def delete(type_: str, object_id: int) -> Operation:
    return Operation(action='delete', type=type_, name='', id=object_id)


MORE_TABLES = '''
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '%s'
down_revision = '%s'


def upgrade() -> None:
    op.add_column('server', sa.Column('more', sa.Integer, nullable=True))
    op.create_table('more', sa.Column('id', sa.Integer, primary_key=True))
    op.create_table('yet_more', sa.Column('id', sa.Integer, primary_key=True))
'''


def one_more_migration(directory: Path) -> str:
    """Make a copy of the migrations in that directory, with one more step; gives its number."""
    shutil.copytree(Path(migrations.__file__).parent, directory)
    number = f'{int(SCHEMA) + 1:04}'
    (directory / 'versions' / f'v{number}_more.py').write_text(MORE_TABLES % (number, SCHEMA), 'utf-8')
    return number


class OdbCase(TestCase):
    """Tests on one ODB. Another database: a subclass with another `make_url`, of an empty database each time."""

    types = TYPES
    timeout = 120

    def make_url(self) -> str:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir(parents=True)
        return f'sqlite:///{directory}/zatotx.db'

    def setUp(self) -> None:
        self.url = self.make_url()
        create(self.url, KEY, NewCluster(name=CLUSTER, nodes=(Address(name='server1'),)), types=self.types)
        self.store = self.open()

    def open(self) -> IConfigStore:
        """One more store on the same ODB, as another node has it."""
        store = open_store(self.url, KEY, reactor=reactor, cluster=CLUSTER, types=self.types)
        self.addCleanup(store.close)
        return store

    def database(self) -> Database:
        """The ODB without a reactor."""
        database = open_database(self.url, KEY, cluster=CLUSTER, types=self.types)
        self.addCleanup(database.close)
        return database
