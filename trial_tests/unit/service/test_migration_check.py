"""The check of Zato services, of the source alone."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.service.compat.migration_check import check_source

OUTGOING = ('rest', 'plain_http', 'sql')


class CheckSourceTests(SynchronousTestCase):
    def problems(self, source: str) -> list[tuple[int, str]]:
        return [(problem.line, problem.text) for problem in check_source(source, OUTGOING)]

    def test_nothing_is_missing(self) -> None:
        """A service that uses what zatotx has, has no problems."""
        self.assertEqual(self.problems('''
import zato.common.util
from bunch import Bunch
from zato.common import util
from zato.server.service import *
from zato.server.service import Integer, Service

class Mine(Service):
    def handle(self):
        self.outgoing.plain_http['CRM'].get(self.cid)
        self.out.sql.get('DB')
        self.kvdb.conn.get('x')
        self.logger.info(self.request.payload)
'''), [])

    def test_imports(self) -> None:
        """Modules and names that zatotx lacks are reported with their lines, and what resembles them."""
        self.assertEqual(self.problems('''
import zato.common.odb
from zato.common.odb.model import Job
from zato.server.service import Intger
from zatopy import Intger
from .zato import Other
'''), [
            (2, 'zatotx has no module zato.common.odb'),
            (3, 'zatotx has no module zato.common.odb.model'),
            (4, "zatotx has no zato.server.service.Intger, did you mean 'Integer'?"),
        ])  # fmt: skip

    def test_attributes(self) -> None:
        """Attributes of self that Zato has and zatotx lacks are reported, unless the class has them itself."""
        self.assertEqual(self.problems('''
class Mine(Service):
    search = None
    def handle(self):
        self.pubsub.publish('x')
        self.email = make_email()
        self.email.send(self.search, self.sms())
        self.cloud.aws
    def sms(self):
        return other.pubsub
'''), [(5, 'zatotx has no self.pubsub: use an outgoing AMQP connection'), (8, 'zatotx has no self.cloud')])

    def test_kinds_of_connections(self) -> None:
        """Kinds of outgoing connections that are not installed are reported with those that are."""
        self.assertEqual(self.problems('class A:\n  def f(self):\n    self.out.odoo.get("x")\n    self.out._private'),
                         [(3, 'zatotx has no self.out.odoo, only plain_http, rest, sql')])

    def test_not_python(self) -> None:
        """Python 2 and other text are one problem of the file."""
        ((line, text),) = self.problems('class A:\n  def f(self):\n    print "x"\n')
        self.assertEqual(line, 3)
        self.assertRegex(text, r'^this is not Python 3\.\d+: Missing parentheses')
        self.assertEqual(self.problems('a\0b')[0][1][:18], 'this is not Python')
