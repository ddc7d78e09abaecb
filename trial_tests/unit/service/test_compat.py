"""Modules written for Zato run unchanged: the names that they import exist and have the same meaning."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SynchronousTestCase, TestCase

import zatotx
from trial_tests.support.invoking import Calls
from zatotx.model import errors
from zatotx.service.compat import import_finder
from zatotx.service.naming import service_name
from zatotx.service.service_entry import ServiceEntry

# Zato 1.1 and 2.0: classes in plain def, SimpleIO, bunch, anyjson.
CLASSIC = '''
from __future__ import absolute_import, division, print_function, unicode_literals

import logging
from contextlib import closing
from traceback import format_exc

from anyjson import dumps, loads
from bunch import Bunch, bunchify

from zato.common import DATA_FORMAT, ZATO_OK, ZatoException
from zato.server.service import AsIs, Boolean, Integer, List, ListOfDicts, Service, Unicode, UTC

logger = logging.getLogger(__name__)


class GetClientDetails(Service):
    class SimpleIO:
        response_elem = 'client'
        input_required = ('cust_id', Integer('level'))
        input_optional = (Boolean('with_orders'),)
        output_required = ('name', UTC('since'), AsIs('external_id'))
        output_optional = ('orders',)

    def handle(self):
        self.logger.info('Request: %s', self.request.payload)
        profile = self.invoke('my-api.get-profile', {'cust_id': self.request.input.cust_id}, as_bunch=True)
        if self.request.input.with_orders:
            orders = self.invoke(GetOrders.get_name(), {'cust_id': self.request.input.cust_id})
            self.response.payload.orders = orders
        self.response.payload.name = profile.name
        self.response.payload.since = profile.since
        self.response.payload.external_id = profile.external_id


class GetProfile(Service):
    def handle(self):
        customer = Bunch()
        customer.name = 'Client {}'.format(self.request.payload['cust_id'])
        customer.since = '2014-01-01T00:00:00+00:00'
        customer.external_id = '00123'
        self.response.payload = customer


class GetOrders(Service):
    class SimpleIO:
        input_required = ('cust_id',)
        output_required = ('id', Unicode('title'))
        output_repeated = True

    def handle(self):
        for position in range(2):
            self.response.payload.append({'id': str(position), 'title': position, 'internal': None})


class SetProfile(Service):
    name = 'profiles.set'

    def before_handle(self):
        self.environ['started'] = True

    def handle_GET(self):
        self.response.payload = dumps({'method': 'GET', 'started': self.environ['started']})

    def handle_POST(self):
        try:
            raise ZatoException(self.cid, 'Cannot set')
        except Exception:
            assert 'Cannot set' in format_exc()
        doc = bunchify(loads(self.request.raw_request))
        self.response.status_code = 201
        self.response.content_type = 'application/json'
        self.response.headers['X-Result'] = ZATO_OK
        self.response.payload = dumps({'name': doc.profile.name, 'format': DATA_FORMAT.JSON})


class Base(Service):
    zato_dont_import = True

    def shared(self):
        return self.name
'''

# 3.x: the short form, models, typing helpers, exceptions of their own module.
MODERN = '''
# -*- coding: utf-8 -*-

from dataclasses import dataclass
from http.client import CREATED

from zato.common.api import DATA_FORMAT
from zato.common.exception import BadRequest, NotFound
from zato.common.json_internal import dumps
from zato.common.typing_ import any_, cast_, intnone, list_, optional, strlist, strnone
from zato.server.service import Bool, Int, Model, Service


@dataclass(init=False)
class Address(Model):
    city: str
    street: strnone = None


@dataclass(init=False)
class CreateUserRequest(Model):
    name: str
    age: intnone = None
    roles: optional[strlist] = None
    addresses: optional[list_[Address]] = None


@dataclass(init=False)
class CreateUserResponse(Model):
    user_id: int
    roles: strlist
    city: strnone = None


class CreateUser(Service):
    input = CreateUserRequest
    output = CreateUserResponse

    def handle(self) -> 'None':
        request = cast_('CreateUserRequest', self.request.input)
        if request.name == 'nobody':
            raise BadRequest(self.cid, 'Nobody cannot be created')
        response = CreateUserResponse()
        response.user_id = 7
        response.roles = request.roles or ['user']
        if request.addresses:
            response.city = request.addresses[0].city
        self.response.status_code = CREATED
        self.response.payload = response


class Search(Service):
    name = 'users.search'
    input = 'term', Int('-limit'), Bool('-exact')
    output = 'found', '-note'

    def handle(self) -> 'None':
        query = self.request.input
        if not query.term:
            raise NotFound(self.cid, 'No term')
        self.response.payload = {'found': dumps([query.term, query.limit or 10, query.exact or False])}
'''


class ZatoModules:
    """Writes modules to a directory, imports them as a deployment does, and removes them again."""

    def __init__(self, case: TestCase | SynchronousTestCase) -> None:
        import_finder.install()
        self.place = Path(case.mktemp()).absolute()
        self.place.mkdir()
        sys.path.insert(0, str(self.place))
        case.addCleanup(self.forget)
        self.names: list[str] = []

    def load(self, name: str, text: str) -> ModuleType:
        (self.place / f'{name}.py').write_text(text, 'utf-8')
        self.names.append(name)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    def forget(self) -> None:
        import_finder.uninstall()
        sys.path.remove(str(self.place))
        for name in self.names:
            sys.modules.pop(name, None)


def services_of(module: ModuleType) -> list[ServiceEntry]:
    found = [value for value in vars(module).values() if isinstance(value, type)]
    return [
        ServiceEntry.for_class(one)
        for one in found
        if issubclass(one, zatotx.Service) and one.__module__ == module.__name__ and 'zato_dont_import' not in vars(one)
    ]


class UnchangedModuleTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.modules = ZatoModules(self)
        self.reactor: Any = reactor
        self.pool = ThreadPool(0, 3, 'test services')
        self.pool.start()

        self.addCleanup(lambda: deferToThread(self.pool.stop))

    async def ask(self, entries: list[ServiceEntry], name: str, payload: Any = None, **request: Any) -> Any:
        first = next(entry for entry in entries if entry.name == name)
        calls = Calls(first, *(entry for entry in entries if entry is not first), reactor=self.reactor, pool=self.pool)
        body = msgspec.json.encode(payload) if payload is not None else b''
        return await calls.start(calls.http(body=body, **request), payload)

    async def test_classic(self) -> None:
        """A module for Zato 1.1 and 2.0 works: names, SimpleIO, invoke, bunch, anyjson, verbs, hooks."""
        entries = services_of(self.modules.load('my_api', CLASSIC))
        self.assertEqual({entry.name for entry in entries}, {
            'my-api.get-client-details', 'my-api.get-profile', 'my-api.get-orders', 'profiles.set',
        })  # fmt: skip
        outcome = await self.ask(
            entries, 'my-api.get-client-details', {'cust_id': '5', 'level': '1', 'with_orders': 'yes'}
        )
        self.assertEqual((outcome.element, outcome.value), ('client', {
            'name': 'Client 5', 'since': '2014-01-01T00:00:00', 'external_id': '00123',
            'orders': [{'id': 0, 'title': '0'}, {'id': 1, 'title': '1'}],
        }))  # fmt: skip
        outcome = await self.ask(entries, 'profiles.set', method='GET')
        self.assertEqual(msgspec.json.decode(outcome.value), {'method': 'GET', 'started': True})
        outcome = await self.ask(entries, 'profiles.set', {'profile': {'name': 'x'}})
        self.assertEqual(msgspec.json.decode(outcome.value), {'name': 'x', 'format': 'json'})
        self.assertEqual(
            (outcome.status, outcome.content_type, outcome.headers), (201, 'application/json', {'X-Result': 'ZATO_OK'})
        )

    async def test_modern(self) -> None:
        """A module for Zato 3.x works: models, short form, exceptions."""
        entries = services_of(self.modules.load('users_api', MODERN))
        outcome = await self.ask(entries, 'users-api.create-user', {
            'name': 'ann', 'addresses': [{'city': 'Opole'}], 'roles': ['admin'],
        })  # fmt: skip
        self.assertEqual(outcome.status, 201)
        self.assertEqual(
            msgspec.json.decode(msgspec.json.encode(outcome.value)), {'user_id': 7, 'roles': ['admin'], 'city': 'Opole'}
        )
        with self.assertRaises(errors.BadRequest) as raised:
            await self.ask(entries, 'users-api.create-user', {'name': 'nobody'})
        self.assertEqual(raised.exception.details, 'Nobody cannot be created')
        with self.assertRaises(errors.BadInput) as bad:
            await self.ask(entries, 'users-api.create-user', {'age': 'x', 'addresses': [{'street': 5}]})
        self.assertEqual(set(bad.exception.mistakes), {
            ('$.name', 'missing'), ('$.age', 'expected int | null, got str'), ('$.addresses[0].city', 'missing'),
            ('$.addresses[0].street', 'expected str | null, got int'),
        })  # fmt: skip
        outcome = await self.ask(entries, 'users.search', query=b'term=x&exact=on', method='GET')
        self.assertEqual(outcome.value, {'found': '["x", 10, true]', 'note': ''})


class FinderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.modules = ZatoModules(self)

    def test_all_modules_can_be_imported(self) -> None:
        """Each module provides the declared names from the declared source."""
        for name in import_finder.MODULES:
            module = importlib.import_module(name)
            for home, names in import_finder.MODULES[name].items():
                for one in names:
                    self.assertIs(getattr(module, one), getattr(importlib.import_module(home), one))
                    self.assertIn(one, vars(module)['__all__'])

    def test_the_service_is_ours(self) -> None:
        """Service is one class under two names, so that isinstance and issubclass agree."""
        self.assertIs(importlib.import_module('zato.server.service').Service, zatotx.Service)
        self.assertIs(importlib.import_module('zato.common').HTTPException, errors.HTTPException)

    def test_what_is_not_there_is_an_import_error(self) -> None:
        """A missing name raises ImportError, as for any module."""
        for statement in ('import zato.no_such', 'from zato.common import no_such'):
            self.assertRaises(ImportError, exec, statement, {})

    def test_a_real_package_wins(self) -> None:
        """An installed package of such a name is used, and nothing is added below it."""
        import_finder.uninstall()
        self.modules.names += ['zato', 'bunch']
        (self.modules.place / 'bunch.py').write_text('Bunch = "real"', 'utf-8')
        (self.modules.place / 'zato').mkdir()
        (self.modules.place / 'zato' / '__init__.py').write_text('', 'utf-8')
        importlib.invalidate_caches()
        import_finder.install()
        self.assertEqual(importlib.import_module('bunch').Bunch, 'real')
        self.assertRaises(ImportError, importlib.import_module, 'zato.server.service')

    def test_it_is_installed_once_and_last(self) -> None:
        """The finder is installed once, after all other finders."""
        self.assertIs(import_finder.install(), import_finder.install())
        self.assertIs(sys.meta_path[-1], import_finder.install())
        import_finder.uninstall()
        self.assertFalse(any(isinstance(one, import_finder.ZatoFinder) for one in sys.meta_path))
        self.assertNotIn('zato', sys.modules)

    def test_helpers(self) -> None:
        """asbool accepts what SimpleIO accepts; anyjson also has its older names."""
        util = importlib.import_module('zato.common.util')
        self.assertEqual([util.asbool('yes'), util.asbool('Off')], [True, False])
        self.assertRaises(ValueError, util.asbool, 'perhaps')
        anyjson = importlib.import_module('anyjson')
        self.assertEqual(anyjson.deserialize(anyjson.serialize({'a': [1]})), {'a': [1]})

    def test_names_of_each_age(self) -> None:
        """The job types of 1.1 and 2.0 can be imported, and dataclasses of 3.x with fields that are lists."""
        common = importlib.import_module('zato.common')
        self.assertEqual(common.SCHEDULER_JOB_TYPE.CRON_STYLE, common.SCHEDULER.JOB_TYPE.CRON_STYLE)
        names = importlib.import_module('zato.common.typing_')
        made = names.make_dataclass('Made', [('tags', names.strlist, names.list_field())])
        first, second = made(), made()
        first.tags.append('x')
        self.assertEqual(second.tags, [])


class NamingTests(SynchronousTestCase):
    def name(self, cls_name: str, module: str = 'my_api', **attributes: Any) -> str:
        return service_name(type(cls_name, (zatotx.Service,), attributes), module)

    def test_derived(self) -> None:
        """The default name is module and class, dashed, as in Zato."""
        for cls_name, expected in (
            ('GetClientDetails', 'get-client-details'), ('Ping', 'ping'), ('HTTPPing', 'http-ping'),
            ('GetV2Data', 'get-v2-data'), ('GetURL', 'get-url'), ('my_service', 'my-service'), ('Ping2', 'ping2'),
        ):  # fmt: skip
            self.assertEqual(self.name(cls_name), f'my-api.{expected}')
        self.assertEqual(self.name('Get', 'crm.orders_v2'), 'crm.orders-v2.get')

    def test_given(self) -> None:
        """`name`, or get_name as a static or class method, sets the name."""
        self.assertEqual(self.name('X', name='crm.x'), 'crm.x')
        self.assertEqual(self.name('X', get_name=staticmethod(lambda: 'crm.y')), 'crm.y')
        self.assertEqual(self.name('X', get_name=classmethod(lambda cls: cls.__name__ + '!')), 'X!')

    def test_a_name_is_not_inherited(self) -> None:
        """A service that inherits from another has its own name; self.name is the deployed name."""

        class First(zatotx.Service):
            name = 'first'

        class Second(First):
            async def handle(self) -> None:
                self.response.payload = self.name

        self.assertEqual(service_name(Second, 'm'), 'm.second')
