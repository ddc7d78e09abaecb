"""What a fresh interpreter loads: `import zatotx`, the test kit and the command line start quickly."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from twisted.trial.unittest import SynchronousTestCase

PACKAGE = """
import sys, zatotx
print(sorted(name for name in sys.modules if name.startswith('zatotx') or name == 'twisted'))
"""
TEST_KIT = """
import sys
from zatotx.testing import ServiceTestCase
print([name for name in ('twisted.internet.reactor', 'sqlalchemy', 'cryptography', 'yaml') if name in sys.modules])
"""
HELP = """
import sys
from zatotx.cli.main import run
code = run(['--help'])
print(code, [name for name in sys.modules if name.startswith(('twisted', 'sqlalchemy', 'cryptography', 'yaml'))])
"""
COMMANDS = """
import importlib, pkgutil, sys
import zatotx.cli
for module in pkgutil.iter_modules(zatotx.cli.__path__):
    importlib.import_module(f'zatotx.cli.{module.name}')
print('twisted.internet.reactor' in sys.modules)
"""
# What a server without configuration imports: the composition root, and what each kind loads when a node is built.
SERVER = """
import sys
from twisted.plugin import getPlugins
from zatotx.tap import node_assembly, server, worker
from zatotx.connectors.kind_registry import find_kinds
for found in find_kinds():
    kind = found.kind
    for path in (kind.schema, kind.settings, kind.metrics, kind.channel, kind.outgoing, kind.codecs):
        if found.enabled and path:
            found.load(path)
from zatotx.connectors.security_type_registry import find_security_types
find_security_types()
from zatotx.rules.limits.concurrency_limit import MessageContentLimits
from zatotx.pipeline.codecs import CodecRegistry
CodecRegistry(MessageContentLimits())
print(sorted(name for name in HEAVY if name in sys.modules))
"""
# Drivers, parsers and tools that a server loads when an object that needs them is first configured or used: a megabyte
# or more each, or the part of a library that is.
HEAVY = (
    'alembic', 'asyncpg', 'boto3', 'botocore', 'configparser', 'confluent_kafka', 'difflib', 'docutils', 'jinja2',
    'jwt', 'ldap3', 'lxml.etree', 'lxml.objectify', 'multipart', 'MySQLdb', 'paramiko', 'pika', 'psycopg', 'psycopg2',
    'pydantic', 'pymongo', 'pymysql', 'requests', 'setuptools', 'sqlalchemy.dialects.mysql',
    'sqlalchemy.ext.asyncio', 'sqlalchemy.orm', 'twisted.conch.ssh', 'twisted.mail', 'twisted.names',
    'twisted.web.server', 'txzmq', 'yaml', 'zatotx.api.openapi_document',
    'zatotx.connectors.remote_files', 'zatotx.odb.offline_operations',
    'zatotx.plugins.amqp.stored_messages', 'zatotx.plugins.ftp.channel', 'zatotx.plugins.ftp.connection',
    'zatotx.plugins.ftp.poller',
    'zatotx.plugins.http.client', 'zatotx.plugins.http.rest', 'zatotx.plugins.http.soap.outgoing',
    'zatotx.plugins.ibm_mq.mqi_interfaces', 'zatotx.plugins.zmq.message_frames',
    'zatotx.processes.workers.socket_handover', 'zatotx.processes.workers.worker_group',
    'zatotx.rules.enmasse.import_plan', 'zatotx.rules.http.proxy_selection',
    'zatotx.rules.openapi.document_builder', 'zatotx.rules.redis.redis_py_methods', 'zatotx.service.io.json_schema',
    'zatotx.service.io.xml_shapes', 'zatotx.service.redis_methods', 'zatotx.service.patterns', 'zatotx.testing',
    'zatotx.wire.xml.xpath', 'zatotx.wire.xml.xsd_writer', 'zeep', 'zmq',
)  # fmt: skip
# What building the first object of a type imports on the reactor, after a thread has imported the modules of the type.
FIRST_OBJECT = """
import sys
from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from zatotx.connectors.kind_registry import find_kinds
from zatotx.interfaces.connector_kind import ChannelContext, OutgoingContext
from zatotx.schema.snapshot import Snapshot, StoredObject
before = []
def run_in_thread(function, *args):
    function(*args)
    before.append(set(sys.modules))
    return succeed(None)
kind = next(found for found in find_kinds() if found.kind.name == KIND)
types = {each.key: each for each in kind.load(kind.kind.schema)}
objects = [StoredObject(n, key, types[key].struct(**fields), 1) for n, (key, fields) in enumerate(OBJECTS.items())]
common = dict(reactor=Clock(), settings={}, run_in_thread=run_in_thread)
made = (kind.load(kind.kind.channel)(ChannelContext(line_sink=None, work_dir='.', declaration=kind.kind, **common))
        if IS_CHANNEL else kind.load(kind.kind.outgoing)(OutgoingContext(**common)))
assert not before
made.prepare(Snapshot(1, objects))
print(len(before), sorted(set(sys.modules) - before[0]))
"""
_FTP: dict[str, object] = {'name': 'x', 'host': 'localhost'}
_REST: dict[str, object] = {'name': 'x', 'host': 'http://localhost', 'url_path': '/'}
FIRST_OBJECTS: Sequence[tuple[str, bool, dict[str, dict[str, object]]]] = (
    ('ftp', True, {'channel_ftp': {'name': 'x', 'address': '127.0.0.1:1', 'directory': 'x', 'service': 'x'},
                   'outgoing_ftp': _FTP, 'channel_ftp_poll': {'name': 'x', 'connection': 'x', 'service': 'x'}}),
    ('ftp', False, {'outgoing_ftp': _FTP}),
    ('http', False, {'outgoing_rest': _REST, 'outgoing_soap': _REST}),
    ('sql', False, {'sql': {'name': 'x', 'url': 'sqlite://'}}),
    ('zmq', True, {'channel_zmq': {'name': 'x', 'address': 'tcp://127.0.0.1:1', 'service': 'x'}}),
    ('zmq', False, {'outgoing_zmq': {'name': 'x', 'address': 'tcp://127.0.0.1:1'}}),
)
# lxml is loaded with the first document, and elements that others made are known before that.
XML = """
import sys
from zatotx.wire.xml import parser
before = parser.is_element('a'), parser.is_lxml_loaded(), 'lxml.etree' in sys.modules
from lxml import etree
foreign = parser.is_element(etree.fromstring('<a/>')), parser.is_element('a'), parser.is_lxml_loaded()
print(before, foreign, parser.is_element(parser.parse_document(b'<a/>')), parser.is_lxml_loaded())
"""


def last_line(program: str) -> str:
    """The last line that a program prints."""
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.splitlines()[-1]


class ImportTests(SynchronousTestCase):
    def test_the_package_loads_nothing_else(self) -> None:
        """`import zatotx` alone loads none of its modules."""
        self.assertEqual(last_line(PACKAGE), "['zatotx']")

    def test_the_test_kit_loads_no_server(self) -> None:
        """`zatotx.testing` loads neither a reactor nor anything that only servers need."""
        self.assertEqual(last_line(TEST_KIT), '[]')

    def test_help_loads_no_command(self) -> None:
        """`zatotx --help` is quick because no command is imported for it."""
        self.assertEqual(last_line(HELP), '0 []')

    def test_a_server_without_configuration_loads_no_driver(self) -> None:
        """A server loads drivers, parsers and tools when an object that needs them is first configured or used."""
        own = [name for name in HEAVY if name.startswith('zatotx.')]
        self.assertEqual([name for name in own if find_spec(name) is None], [], 'a module has another name now')
        self.assertEqual(last_line(f'HEAVY = {HEAVY!r}\n{SERVER}'), '[]')

    def test_the_first_object_is_loaded_in_a_thread(self) -> None:
        """Objects that are configured later import what they need in a thread, so that the reactor is not held up."""
        for kind, is_channel, objects in FIRST_OBJECTS:
            program = f'KIND, IS_CHANNEL, OBJECTS = {kind!r}, {is_channel!r}, {objects!r}\n{FIRST_OBJECT}'
            self.assertEqual(last_line(program), '1 []', (kind, objects))

    def test_lxml_is_loaded_with_the_first_document(self) -> None:
        """The parser imports lxml when it parses, and recognizes elements that other code has made before."""
        self.assertEqual(last_line(XML), '(False, False, False) (True, False, False) True True')

    def test_no_command_imports_the_reactor(self) -> None:
        """A command never has a reactor, so that none can be blocked by it."""
        self.assertEqual(last_line(COMMANDS), 'False')
