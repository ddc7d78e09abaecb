"""Creation and maintenance of an ODB without a server; migrations; file permissions."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.odb import (
    CLUSTER,
    KEY,
    ME,
    TYPES,
    OdbCase,
    delete,
    edit,
    on_every_database,
    one_more_migration,
    per_engine,
    service,
    user,
)
from zatotx.model.errors import Conflict, NotFound, ServiceUnavailable
from zatotx.odb import odb_urls, offline_operations
from zatotx.odb import schema_state as schema_state_module
from zatotx.odb.engine_factory import make_engine
from zatotx.odb.engines.sqlite import create_database_file
from zatotx.odb.nodes import NodeAddress, list_nodes
from zatotx.odb.offline_operations import (
    NewCluster,
    create_odb,
    inspect_schema_state,
    needs_stopped_nodes,
    open_database,
    read_snapshot,
    set_object_password,
    upgrade_odb,
    write_operations,
)
from zatotx.odb.tables import COMPATIBLE_SINCE, COMPATIBLE_SINCE_COUNTER, SCHEMA_VERSION, metadata
from zatotx.rules.security.password_verification import verify_password
from zatotx.schema.meta import ObjectType
from zatotx.schema.secrets import hash_of_dual_secret
from zatotx.schema.snapshot import Operation
from zatotx.schema.type_registry import ObjectTypeRegistry
from zatotx.security.basic_auth import BasicAuth


@on_every_database
class CreateTests(OdbCase):
    def test_a_new_odb_has_cluster_nodes_and_first_objects(self) -> None:
        """Everything that quickstart creates."""
        url = self.make_url()
        new = NewCluster(
            name='mine',
            nodes=(NodeAddress(name='server1', host='127.0.0.1', port=17010), NodeAddress(name='server2')),
            operations=(user('admin.invoke', 'sesame'), service('echo')),
        )
        create_odb(url, KEY, new, types=TYPES)
        database = open_database(url, KEY, cluster='mine', types=TYPES)
        self.addCleanup(database.close)
        self.assertEqual({o.name for o in read_snapshot(database)}, {'admin.invoke', 'echo'})
        found = [(n.name, n.bind_port, n.up_status) for n in database.read(list_nodes)]
        self.assertEqual(found, [('server1', 17010, ''), ('server2', 0, '')])

    def test_it_is_made_once(self) -> None:
        """A second cluster may be added; ids are never shared."""
        error = self.assertRaises(Conflict, create_odb, self.url, KEY, NewCluster(name=CLUSTER), types=TYPES)
        self.assertIn('already', str(error))
        create_odb(self.url, KEY, NewCluster(name='second', operations=(user('api', ''),)), types=TYPES)
        second = open_database(self.url, KEY, cluster='second', types=TYPES)
        self.addCleanup(second.close)
        first = self.database()
        write_operations(first, [user('api', '')], ME)
        self.assertEqual(len({o.id for database in (first, second) for o in read_snapshot(database)}), 2)

    def test_clusters_of_one_database_are_apart(self) -> None:
        """A change by name or id only affects objects of its own cluster."""
        create_odb(self.url, KEY, NewCluster(name='second', operations=(user('api', ''),)), types=TYPES)
        second = open_database(self.url, KEY, cluster='second', types=TYPES)
        self.addCleanup(second.close)
        first = self.database()
        (theirs,) = read_snapshot(second)
        by_name = Operation(action='edit', type='basic_auth', name='api', fields={'realm': 'mine'})
        for operation in (by_name, edit('basic_auth', theirs.id, realm='mine'), delete('basic_auth', theirs.id)):
            self.assertRaises(NotFound, write_operations, first, [operation], ME)
        write_operations(first, [user('api', '')], ME)
        write_operations(first, [by_name], ME)
        self.assertEqual([o.value.realm for database in (first, second) for o in read_snapshot(database)],
                         ['mine', theirs.value.realm])

    @per_engine
    def test_what_cannot_be_made_leaves_nothing(self) -> None:
        """After a failure, it can be created at once."""
        url = self.make_url()
        twice = NewCluster(name='x', operations=(user('a', ''), user('a', '')))
        self.assertRaises(Conflict, create_odb, url, KEY, twice, types=TYPES)
        create_odb(url, KEY, NewCluster(name='y'), types=TYPES, is_exclusive=True)

    def test_a_database_may_have_to_be_empty(self) -> None:
        """An exclusive ODB is not created next to another cluster, which the error names."""
        new = NewCluster(name='x')
        error = self.assertRaises(Conflict, create_odb, self.url, KEY, new, types=TYPES, is_exclusive=True)
        self.assertIn(repr(CLUSTER), str(error))

    @per_engine
    def test_a_database_of_another_program_is_left_alone(self) -> None:
        """Whatever the names of its tables, also if migrated by alembic."""
        for statements in (
            ['CREATE TABLE server (id INTEGER)'],
            ['CREATE TABLE alembic_version (version_num VARCHAR(32))', 'CREATE TABLE users (id INTEGER)'],
            ['CREATE TABLE alembic_version (version_num VARCHAR(32))', "INSERT INTO alembic_version VALUES ('ae10')"],
        ):
            self.url = self.make_url()
            if file := odb_urls.sqlite_path(self.url):
                create_database_file(file)
            for statement in statements:
                self.sql(statement)
            self.assertEqual(inspect_schema_state(self.url), 'foreign')
            error = self.assertRaises(ServiceUnavailable, create_odb, self.url, KEY, NewCluster(name='x'), types=TYPES)
            self.assertIn('tables of another program', str(error))


class FileTests(OdbCase):
    """Tests of SQLite files."""

    def test_what_cannot_be_made_leaves_no_file(self) -> None:
        """A failure leaves no file."""
        url = self.make_url()
        twice = NewCluster(name='x', operations=(user('a', ''), user('a', '')))
        self.assertRaises(Conflict, create_odb, url, KEY, twice, types=TYPES)
        directory = Path(url.removeprefix('sqlite:///')).parent
        self.assertEqual(list(directory.iterdir()), [])

    def test_a_directory_that_is_not_there_is_named(self) -> None:
        """A missing directory is named in the error."""
        error = self.assertRaises(
            ServiceUnavailable, create_odb, 'sqlite:////no/such/place/x.db', KEY, NewCluster(name='x'), types=TYPES
        )
        self.assertIn('/no/such/place/x.db) cannot be created: No such file or directory', str(error))

    def test_files_are_closed_to_others_whatever_the_umask(self) -> None:
        """The database, -wal and -shm are 0600; other modes are corrected."""
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        url = self.make_url()
        create_odb(url, KEY, NewCluster(name=CLUSTER), types=TYPES)
        path = Path(url.removeprefix('sqlite:///'))
        path.chmod(0o644)
        database = open_database(url, KEY, cluster=CLUSTER, types=TYPES)
        write_operations(database, [user('a', '')], ME)
        files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        database.close()
        self.assertEqual(files, {'zatotx.db': 0o600, 'zatotx.db-wal': 0o600, 'zatotx.db-shm': 0o600})

    def test_no_odb_is_said_to_be_none(self) -> None:
        """Checking does not create a file."""
        url = self.make_url()
        self.assertRaises(ServiceUnavailable, inspect_schema_state, url)
        self.assertRaises(ServiceUnavailable, upgrade_odb, url)
        self.assertFalse(Path(url.removeprefix('sqlite:///')).exists())


class PasswordTests(OdbCase):
    def test_a_password_is_set(self) -> None:
        """Without a server."""
        database = self.database()
        write_operations(database, [user('pubapi', ''), service('echo')], ME)
        set_object_password(database, 'pubapi', 'open-sesame', ME)
        found = read_snapshot(database).find('basic_auth', 'pubapi')
        assert found is not None
        self.assertTrue(verify_password(hash_of_dual_secret(found.value.password), 'open-sesame'))

    def test_a_name_that_several_have_is_refused(self) -> None:
        """An ambiguous name is rejected."""

        class Mailbox(BasicAuth, frozen=True, kw_only=True):
            pass

        mailbox = ObjectType(key='mailbox', struct=Mailbox, section='mailbox')
        database = open_database(self.url, KEY, cluster=CLUSTER, types=ObjectTypeRegistry((*TYPES, mailbox)))
        self.addCleanup(database.close)
        same = Operation(action='create', type='mailbox', name='a', fields={'name': 'a', 'username': 'a'})
        write_operations(database, [user('a', ''), same], ME)
        error = self.assertRaises(Conflict, set_object_password, database, 'a', 'x', ME)
        self.assertIn('basic_auth, mailbox', str(error))

    def test_nobody_of_that_name_is_not_found(self) -> None:
        """Neither are objects without a password."""
        database = self.database()
        write_operations(database, [service('echo')], ME)
        for name in ('nobody', 'echo'):
            error = self.assertRaises(NotFound, set_object_password, database, name, 'x', ME)
            self.assertIn(repr(name), str(error))


@on_every_database
class SchemaTests(OdbCase):
    def test_an_odb_of_another_version_is_refused_with_what_to_do(self) -> None:
        """Older, newer and empty ones are rejected by nodes and commands."""
        database = self.database()
        for version, state, advice in (('0000', 'older', 'zatotx odb upgrade'), ('9999', 'newer', 'upgrade zatotx')):
            self.sql(f"UPDATE alembic_version SET version_num = '{version}'")
            self.assertEqual(inspect_schema_state(self.url), state)
            self.assertIn(advice, str(self.assertRaises(ServiceUnavailable, read_snapshot, database)))
        self.assertIn('newer version', str(self.assertRaises(ServiceUnavailable, upgrade_odb, self.url)))
        self.sql('DELETE FROM alembic_version')
        self.assertEqual(inspect_schema_state(self.url), 'empty')
        self.assertIn('quickstart create', str(self.assertRaises(ServiceUnavailable, read_snapshot, database)))

    @per_engine
    def test_an_older_odb_is_brought_up_with_all_it_holds(self) -> None:
        """An upgrade keeps the data, and a second one does nothing."""
        database = self.database()
        write_operations(database, [user('api', '')], ME)
        database.close()
        scripts = Path(self.mktemp()).absolute()
        self.patch(schema_state_module, 'SCHEMA_VERSION', one_more_migration(scripts))
        self.patch(offline_operations, 'SCRIPT_LOCATION', str(scripts))
        self.assertEqual(inspect_schema_state(self.url), 'older')
        self.assertTrue(upgrade_odb(self.url))
        self.assertFalse(upgrade_odb(self.url))
        self.assertEqual([o.name for o in read_snapshot(self.database())], ['api'])

    @per_engine
    def test_nodes_of_the_version_before(self) -> None:
        """An ODB that a newer version upgraded can be used if that version says so: it is read and written. A version
        that says nothing, or names a newer one, is refused."""
        database = self.database()
        scripts = Path(self.mktemp()).absolute()
        number = one_more_migration(scripts)
        newer = [self.patch(schema_state_module, 'SCHEMA_VERSION', number),
                 self.patch(offline_operations, 'SCRIPT_LOCATION', str(scripts))]  # fmt: skip
        self.assertFalse(needs_stopped_nodes(self.url))
        incompatible = self.patch(offline_operations, 'COMPATIBLE_SINCE', '9999')
        self.assertTrue(needs_stopped_nodes(self.url))
        incompatible.restore()
        self.assertTrue(upgrade_odb(self.url))
        for one in newer:
            one.restore()
        self.assertEqual(inspect_schema_state(self.url), 'compatible')
        write_operations(database, [user('api', '')], ME)
        self.assertEqual([o.name for o in read_snapshot(database)], ['api'])
        self.assertFalse(upgrade_odb(self.url))
        is_row = f"name = '{COMPATIBLE_SINCE_COUNTER.format(number)}'"
        for change in (f'UPDATE counter SET value = 9999 WHERE {is_row}', f'DELETE FROM counter WHERE {is_row}'):
            self.sql(change)
            self.assertEqual(inspect_schema_state(self.url), 'newer')

    def test_a_current_odb_needs_no_upgrade(self) -> None:
        """Nothing is done."""
        self.assertFalse(upgrade_odb(self.url))
        self.assertEqual(inspect_schema_state(self.url), 'current')


@on_every_database
class MigrationTests(OdbCase):
    def scripts(self) -> ScriptDirectory:
        config = Config()
        config.set_main_option('script_location', 'zatotx.odb:migrations')
        return ScriptDirectory.from_config(config)

    def test_the_code_and_the_newest_script_agree(self) -> None:
        """SCHEMA_VERSION, which nodes compare without alembic, is the newest script's number; COMPATIBLE_SINCE is that
        of one of the scripts."""
        self.assertEqual(self.scripts().get_current_head(), SCHEMA_VERSION)
        self.assertIn(COMPATIBLE_SINCE, [script.revision for script in self.scripts().walk_revisions()])

    def test_numbers_tell_older_from_newer(self) -> None:
        """Numbers have four digits and increase by one."""
        found = sorted(script.revision for script in self.scripts().walk_revisions())
        self.assertEqual(found, [f'{number:04}' for number in range(1, len(found) + 1)])

    @per_engine
    def test_migrations_make_the_tables_of_the_code(self) -> None:
        """alembic finds no difference."""
        engine = make_engine(self.url)
        self.addCleanup(engine.dispose)
        with engine.connect() as connection:
            self.assertEqual(compare_metadata(MigrationContext.configure(connection), metadata), [])

    @per_engine
    def test_a_script_undoes_what_it_did(self) -> None:
        """All migrations can be downgraded and upgraded again."""
        from alembic import command

        engine = make_engine(self.url, 'migrate')
        self.addCleanup(engine.dispose)
        config = Config()
        config.set_main_option('script_location', 'zatotx.odb:migrations')
        with engine.begin() as connection:
            config.attributes['connection'] = connection
            command.downgrade(config, 'base')
        self.assertEqual(inspect_schema_state(self.url), 'empty')
        create_odb(self.url, KEY, NewCluster(name=CLUSTER), types=TYPES)


class UrlTests(SynchronousTestCase):
    def test_a_relative_path_is_made_absolute(self) -> None:
        """It is resolved from the server's directory."""
        self.assertEqual(odb_urls.make_url_absolute('sqlite:///../odb/x.db', '/env/server1'), 'sqlite:////env/odb/x.db')
        self.assertEqual(odb_urls.make_url_absolute('sqlite:////abs/x.db', '/env/server1'), 'sqlite:////abs/x.db')

    def test_what_cannot_be_used_is_refused_with_a_sentence(self) -> None:
        """Invalid URLs, other databases and missing files are rejected without showing a password."""
        for url, part in (
            ('nonsense', 'not of the form'),
            ('oracle://me:sEcReT@host/db', "'oracle'"),
            ('postgresql+psycopg2://me:sEcReT@host/db', "'postgresql+psycopg2'"),
            ('postgresql+psycopg://me:sEcReT@host:1O/db', 'not of the form'),
            ('postgresql+psycopg://me:sEcReT@host', 'does not name a database'),
            ('postgresql://me:p@sEcReT@host/db', '%40'),
            ('mysql://me:12/sEcReT@host/db', '%2F'),
            ('sqlite://', 'does not name a file'),
            ('sqlite:///:memory:', 'does not name a file'),
        ):
            error = str(self.assertRaises(ValueError, odb_urls.parse_odb_url, url))
            self.assertIn(part, error)
            self.assertNotIn('sEcReT', error)

    def test_one_driver_a_database_whatever_is_written(self) -> None:
        """The tested driver is used."""
        for written, used in (
            ('postgresql://h/db', 'postgresql+psycopg'),
            ('mariadb://h/db', 'mysql+pymysql'),
            ('mysql://h/db', 'mysql+pymysql'),
            ('mariadb+pymysql://h/db', 'mysql+pymysql'),
            ('sqlite+pysqlite:////x', 'sqlite'),
        ):
            self.assertEqual(odb_urls.parse_odb_url(written).drivername, used)

    def test_a_server_needs_no_directory(self) -> None:
        """The URL of a server is absolute and keeps its password."""
        url = 'postgresql+psycopg://me:p%40ss@host:5432/db?sslmode=require'
        self.assertEqual(odb_urls.make_url_absolute(url, '/env/server1'), url)
        self.assertIsNone(odb_urls.sqlite_path(url))


class EngineTests(SynchronousTestCase):
    def test_a_path_with_odd_characters_is_a_path(self) -> None:
        """Question marks, percent signs, spaces and Unicode have no meaning in paths."""
        directory = Path(self.mktemp()).absolute() / 'a b%20?c#d é'
        directory.mkdir(parents=True)
        url = f'sqlite:///{str(directory).replace("%", "%25").replace("?", "%3F")}/zatotx.db'
        path = odb_urls.parse_odb_url(url).database
        assert path is not None
        create_database_file(path)
        self.assertTrue(Path(path).exists(), path)
        engine = make_engine(url)
        self.addCleanup(engine.dispose)
        with engine.connect() as connection:
            self.assertEqual(connection.exec_driver_sql('PRAGMA journal_mode').scalar(), 'wal')
            self.assertEqual(connection.exec_driver_sql('PRAGMA foreign_keys').scalar(), 1)


class ImportTests(SynchronousTestCase):
    def test_a_node_starts_without_alembic(self) -> None:
        """The slow import is only needed by commands."""
        script = (
            'import sys, zatotx.odb.config_store, zatotx.odb.offline_operations; sys.exit("alembic" in sys.modules)'
        )
        environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, '-c', script], timeout=60, check=False, env=environment)
        self.assertEqual(done.returncode, 0)
