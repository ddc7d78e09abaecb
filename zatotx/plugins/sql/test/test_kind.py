"""What the SQL kind does before it connects: imports, missing drivers, the signature of its doubles."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from trial_tests.support.calling import Asking
from zatotx.connectors.kind_registry import find_kinds
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.model.errors import ServiceUnavailable
from zatotx.plugins.sql import facade
from zatotx.plugins.sql.outgoing import make_outgoing
from zatotx.plugins.sql.schema import SqlOutgoing
from zatotx.plugins.sql.testing import SIGNATURES
from zatotx.schema.snapshot import Snapshot, StoredObject

UNUSED = """
import sys
from twisted.internet.task import Clock
from zatotx.connectors.kind_registry import find_kinds, object_types_of_kinds
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.schema.snapshot import Snapshot
clock = Clock()
found = [one for one in find_kinds() if one.kind.name == 'sql']
assert [one.key for one in object_types_of_kinds(found)] == ['sql']
outgoing = found[0].load(found[0].kind.outgoing)(OutgoingContext(reactor=clock, settings={}, run_in_thread=None))
outgoing.apply(Snapshot(1, []))
clock.advance(1)
print([name for name in sys.modules if name.partition('.')[0] in ('sqlalchemy', 'psycopg', 'pymysql')])
"""


class ImportTests(SynchronousTestCase):
    def test_without_connections(self) -> None:
        """A server without SQL connections imports neither SQLAlchemy nor a driver for them."""
        done = subprocess.run([sys.executable, '-c', UNUSED], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual((done.stdout.strip(), done.stderr), ('[]', ''))

    def test_kind(self) -> None:
        """The kind is found and enabled."""
        self.assertIn(('sql', True), [(found.kind.name, found.enabled) for found in find_kinds()])


class MissingDriverTests(TestCase):
    async def test_missing_driver(self) -> None:
        """A connection whose driver is not installed cannot be used; a finding says what to install."""
        from trial_tests.support.reactor import reactor

        outgoing: Any = make_outgoing(OutgoingContext(reactor=reactor, settings={}, run_in_thread=deferToThread))
        value = SqlOutgoing(name='Old', url='oracle://u@127.0.0.1:1521/x')
        await outgoing.apply(Snapshot(1, [StoredObject(1, 'sql', value, 1)]))
        reason = 'Outgoing connection Old (sql) cannot be used: Oracle Database needs the library oracledb: ' \
                 'pip install oracledb'  # fmt: skip
        self.assertEqual(list(outgoing.findings()), [reason])
        error = self.assertRaises(ServiceUnavailable, outgoing.namespaces['sql'](Asking()).get, 'Old')
        self.assertEqual(error.msg, reason)
        self.flushLoggedErrors()


class SignatureTests(SynchronousTestCase):
    def test_signature(self) -> None:
        """Scripted connections have exactly the public methods of real ones."""
        real = {name for name in dir(facade.SqlFacade) if not name.startswith('_')}
        self.assertEqual(set(SIGNATURES['sql'].methods), real)
