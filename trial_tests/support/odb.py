"""A real ODB for a test, on any database: the object types that every node has, and REST channels."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import text
from twisted.trial.unittest import TestCase

from trial_tests.support import mariadb, postgresql
from trial_tests.support.reactor import reactor
from zatotx.connectors.security_type_registry import all_object_types
from zatotx.interfaces.config import IConfigStore
from zatotx.odb import database_executor, migrations
from zatotx.odb.config_store import open_store
from zatotx.odb.database import Database
from zatotx.odb.engine_factory import make_engine
from zatotx.odb.engines import mysql
from zatotx.odb.engines import postgresql as postgresql_engine
from zatotx.odb.nodes import NodeAddress
from zatotx.odb.odb_urls import sqlite_path
from zatotx.odb.offline_operations import NewCluster, create_odb, open_database
from zatotx.odb.secrets import new_key
from zatotx.odb.tables import SCHEMA_VERSION, metadata
from zatotx.plugins.http.schema import OBJECT_TYPES
from zatotx.schema.snapshot import Actor, Operation
from zatotx.schema.type_registry import ObjectTypeRegistry

TYPES = ObjectTypeRegistry((*all_object_types([]), *OBJECT_TYPES))
CLUSTER = 'test'
ME = Actor('me', 'a test', '0123456789abcdef01234567', '127.0.0.1')
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


def edit(type_: str, object_id: int, *, seen: int | None = None, **fields: object) -> Operation:
    """`seen`: the revision of the object that its editor saw."""
    return Operation(action='edit', type=type_, name='', id=object_id, fields=fields, revision=seen)


def delete(type_: str, object_id: int, *, seen: int | None = None) -> Operation:
    return Operation(action='delete', type=type_, name='', id=object_id, revision=seen)


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
    number = f'{int(SCHEMA_VERSION) + 1:04}'
    (directory / 'versions' / f'v{number}_more.py').write_text(MORE_TABLES % (number, SCHEMA_VERSION), 'utf-8')
    return number


Test = TypeVar('Test', bound=Callable[..., object])
_PER_ENGINE: set[Callable[..., object]] = set()
_templates: dict[str, str] = {}  # kind of database -> the URL of one that is copied


class OdbCase(TestCase):
    """Tests on one ODB."""

    types = TYPES
    timeout = 600
    database_kind = 'sqlite'  # or 'postgresql', 'mariadb'
    is_patient = True  # whether statements may take a minute, as on a loaded machine; tests of the timeouts are not

    def make_url(self) -> str:
        """Of an empty database, another one each time; SQLite's file is not there yet."""
        if self.database_kind == 'postgresql':
            return postgresql.shared().fresh()
        if self.database_kind == 'mariadb':
            return mariadb.shared().fresh()
        directory = Path(self.mktemp()).absolute()
        directory.mkdir(parents=True)
        return f'sqlite:///{directory}/zatotx.db'

    def setUp(self) -> None:
        if self.is_patient:
            self.patch(database_executor, 'CALL_DEADLINE', 60.0)
            for engine in (mysql, postgresql_engine):
                self.patch(engine, 'STATEMENT_TIMEOUT', 50.0)
        self.url = self.made_url()
        self.store = self.open()

    def made_url(self) -> str:
        """Of an ODB with nothing but its cluster and a server: made once and copied."""
        new = NewCluster(name=CLUSTER, nodes=(NodeAddress(name='server1'),))
        if self.database_kind not in _templates:
            _templates[self.database_kind] = self.make_url()
            create_odb(_templates[self.database_kind], KEY, new, types=TYPES)
        template = _templates[self.database_kind]
        if self.database_kind != 'sqlite':
            server = postgresql.shared() if self.database_kind == 'postgresql' else mariadb.shared()
            return server.fresh(template.rpartition('/')[2])
        url = self.make_url()
        shutil.copyfile(str(sqlite_path(template)), str(sqlite_path(url)))
        return url

    def open(self) -> IConfigStore:
        """One more store on the same ODB, as another node has it."""
        store = open_store(self.url, KEY, reactor=reactor, cluster=CLUSTER, types=self.types)
        self.addCleanup(store.close)
        return store

    def sql(self, statement: str, **values: object) -> list[Any]:
        """One statement, as somebody else's program runs it; its rows."""
        engine = make_engine(self.url, 'write')
        try:
            with engine.begin() as connection:
                done = connection.execute(text(statement), values)
                return list(done.all()) if done.returns_rows else []
        finally:
            engine.dispose()

    def stored(self) -> str:
        """All that the tables hold, and the bytes of the files of SQLite."""
        path = sqlite_path(self.url)
        files = () if path is None else [each for each in Path(path).parent.iterdir() if each.is_file()]
        rows = [self.sql(f'SELECT * FROM {name}') for name in metadata.tables]
        return repr(rows) + ''.join(each.read_bytes().decode('latin-1') for each in files)

    def database(self) -> Database:
        """The ODB without a reactor."""
        database = open_database(self.url, KEY, cluster=CLUSTER, types=self.types)
        self.addCleanup(database.close)
        return database


def on_every_database(case: type[OdbCase]) -> type[OdbCase]:
    """Repeat the tests of a class on PostgreSQL and MariaDB: the module gets another class for each. If tests are
    marked with `per_engine`, only those are repeated; the class then cannot use `super()` without arguments."""
    tests = {name: value for name, value in vars(case).items() if name.startswith('test')}
    marked = {name for name, value in tests.items() if value in _PER_ENGINE}
    members = {name: value for name, value in vars(case).items() if name not in tests or name in marked}
    for suffix in ('PostgreSQL', 'MariaDB'):
        name = f'{case.__name__.removesuffix("Tests")}On{suffix}Tests'
        kind = {'database_kind': suffix.lower(), '__module__': case.__module__, '__doc__': case.__doc__}
        made = type(name, case.__bases__, {**members, **kind}) if marked else type(name, (case,), kind)
        setattr(sys.modules[case.__module__], name, made)
    return case


def per_engine(test: Test) -> Test:
    """Mark a test of what differs between the engines: types, order and case of text, locks, errors, constraints, DDL.
    Everything else is shown on SQLite only."""
    _PER_ENGINE.add(test)
    return test
