"""zatotx.plugins.sql.schema: what a connection may be configured with."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from zatotx.plugins.sql.database_url import DatabaseUrl, InvalidDatabaseUrl, parse_database_url, split_password
from zatotx.plugins.sql.engine_options import parse_engine_options
from zatotx.plugins.sql.schema import OBJECT_TYPES, location
from zatotx.schema.validation import validate, validate_edit

URL = 'postgresql://u@127.0.0.1:5432/crm'


class SchemaTests(SynchronousTestCase):
    def valid(self, **fields: Any) -> Any:
        value, errors = validate(OBJECT_TYPES[0], {'name': 'CRM', **fields})
        self.assertEqual(errors, [])
        return value

    def errors(self, **fields: Any) -> dict[str, str]:
        return dict(validate(OBJECT_TYPES[0], {'name': 'CRM', **fields})[1])

    def test_urls(self) -> None:
        """A URL names driver, account, host, port, database and options; each database has one driver."""
        self.assertEqual(
            parse_database_url('postgres://a%40b:p%2Fw@[::1]:6000/d%20b?sslmode=require&x=1'),
            DatabaseUrl(driver='postgresql+psycopg', username='a@b', password='p/w', host='::1', port=6000,
                        database='d b', query={'sslmode': 'require', 'x': '1'}),
        )  # fmt: skip
        self.assertEqual(parse_database_url('mariadb://h/d'),
                         DatabaseUrl(driver='mysql+pymysql', host='h', database='d'))  # fmt: skip
        self.assertEqual(parse_database_url('sqlite:////tmp/a b.db').database, '/tmp/a b.db')
        self.assertNotIn('p/w', repr(parse_database_url('mysql://u:p%2Fw@h/d')))

    def test_wrong_urls(self) -> None:
        """Each problem is a sentence that does not show the password."""
        for url, problem in (
            ('127.0.0.1/crm', 'must be of the form'),
            ('postgresql://u:se@cret@h/d', 'has an @ or / in its user or password'),
            ('postgresql://u:se/cret@h/d', 'has an @ or / in its user or password'),
            ('foxpro://h/d', "unknown database or driver 'foxpro'"),
            ('sqlite://', 'does not name a file'),
            ('sqlite:///relative.db', 'must have the absolute path'),
            ('sqlite:///:memory:', 'does not name a file'),
            ('mysql:///d', 'does not name a host'),
            ('mysql://h', 'does not name a database'),
            ('mysql://h:0/d', 'has a port that is not a number'),
            ('mysql://h:x/d', 'has a port that is not a number'),
        ):
            error = self.assertRaises(InvalidDatabaseUrl, parse_database_url, url)
            self.assertIn(problem, str(error))
            self.assertNotIn('cret', str(error))
            self.assertIn(problem, self.errors(url=url)['url'])

    def test_the_password_of_a_url_is_moved(self) -> None:
        """It is stored in the secret field, also by an edit, and never in the URL."""
        value = self.valid(url='postgresql://u:p%40ss@127.0.0.1:5432/crm?sslmode=require')
        self.assertEqual((value.url, value.password), ('postgresql://u@127.0.0.1:5432/crm?sslmode=require', 'p@ss'))
        self.assertNotIn('p@ss', repr(value))
        edited, errors = validate_edit(OBJECT_TYPES[0], value, {'url': 'postgresql://u:other@h/crm'})
        self.assertEqual((errors, edited.url, edited.password), ([], 'postgresql://u@h/crm', 'other'))
        self.assertEqual(split_password('sqlite:////tmp/x'), ('sqlite:////tmp/x', ''))
        self.assertIn('has a password, and so has the field',
                      self.errors(url='postgresql://u:one@h/d', password='two')['url'])  # fmt: skip

    def test_fields_of_zato(self) -> None:
        """Zato's separate fields give the same location as a URL."""
        value = self.valid(engine='postgresql', host='127.0.0.1', port=5432, db_name='crm', username='u')
        self.assertEqual(location(value), location(self.valid(url=URL)))
        self.assertEqual(location(self.valid(engine='sqlite', db_name='/tmp/x')).database, '/tmp/x')

    def test_all_errors_at_once(self) -> None:
        """Every error is reported with its field."""
        self.assertEqual(set(self.errors(url='x', pool_size=-1, timeout=0, port=0, engine='foxpro')),
                         {'url', 'pool_size', 'timeout', 'port', 'engine'})  # fmt: skip
        self.assertEqual(set(self.errors(engine='mysql', extra='x')), {'extra', 'db_name', 'host'})
        self.assertEqual(set(self.errors(engine='sqlite', db_name='relative')), {'db_name'})
        self.assertEqual(set(self.errors(url=URL, host='h', username='u')), {'host', 'username'})
        self.assertIn('give a url, or engine', self.errors()['url'])

    def test_extra(self) -> None:
        """Lines of key=value; each wrong one is named."""
        extra = '# of Zato\n\necho=True\nisolation_level = serializable\npool_recycle=60'
        self.assertEqual(parse_engine_options(extra),
                         ({'echo': True, 'isolation_level': 'SERIALIZABLE', 'pool_recycle': 60}, []))  # fmt: skip
        _, problems = parse_engine_options('x\nno_such=1\npool_recycle=-1\nisolation_level=odd\necho=maybe')
        for problem, text in zip(problems, ('line 1 must be key=value', "there is no option 'no_such'",
                                            'pool_recycle must be a number', 'isolation_level must be one of',
                                            'echo must be true or false'), strict=True):  # fmt: skip
            self.assertIn(text, problem)
