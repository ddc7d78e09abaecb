"""WSDL: zeep and suds read what is told of SOAP channels, and call them by it without hand-work."""

from __future__ import annotations

import datetime as dt
from base64 import b64decode, encodebytes
from decimal import Decimal
from typing import Any, Generic, TypeVar

import msgspec.inspect
import suds.client
import suds.transport.http
import zeep
import zeep.transports
from suds import WebFault
from suds.cache import NoCache
from twisted.trial.unittest import TestCase

from trial_tests.support.broker import Broker
from trial_tests.support.rawhttp import Connection, ask
from trial_tests.support.served import one_server
from zatotx.service.io.wsdl_builder import XsdTypes

SERVICES = '''
import datetime as dt
from decimal import Decimal
from typing import Literal

import msgspec

from zatotx import BadRequest, Bool, Date, DateTime, Decimal as Dec, Float, Int, List, ListOfDicts, Nested, Service
from zatotx import SoapFault

FORMS = (Float('rate'), DateTime('at'), List('tags'), ListOfDicts('rows', 'a', Int('b')),
         Nested('who', 'name', Int('-age')))


class Balance(Service):
    """ Current balance of one account. """
    name = 'wsdl.get-balance'
    input = Int('account_id'), '-currency', Date('-on')
    output = Int('account_id'), Dec('balance'), 'currency', Date('-on')

    async def handle(self):
        asked = self.request.input
        if asked.account_id < 0:
            raise BadRequest(self.cid, 'There are no accounts below 0')
        self.response.payload = {'account_id': asked.account_id, 'balance': Decimal('10.50'),
                                 'currency': asked.currency or 'EUR', 'on': asked.on or dt.date(2026, 1, 31)}


class Classic(Service):
    name = 'wsdl.classic'

    class SimpleIO:
        input_required = 'name', Int('count')
        output_required = 'name', Int('number'), Bool('is_last')
        output_repeated = True

    def handle(self):
        asked = self.request.input
        most = asked['count']
        for number in range(most):
            self.response.payload.append({'name': asked.name, 'number': number, 'is_last': number + 1 == most})


class Forms(Service):
    name = 'wsdl.forms'
    input = FORMS
    output = FORMS

    async def handle(self):
        self.response.payload = dict(self.request.input)


class Line(msgspec.Struct):
    sku: str
    qty: int
    note: str | None = None


class Order(msgspec.Struct):
    id: int
    at: dt.datetime
    total: Decimal
    lines: list[Line]
    kind: Literal['new', 'old'] = 'new'
    tags: list[str] = []
    labels: dict[str, int] = {}
    parent: 'Order | None' = None


class Place(Service):
    name = 'wsdl.place-order'
    input = Order
    output = Order

    async def handle(self):
        order = self.request.input
        order.tags = [*order.tags, 'placed']
        self.response.payload = order


class Receipt(msgspec.Struct):
    order: int
    total: Decimal
    lines: list[Line]


class Take(Service):
    name = 'wsdl.take-order'
    input = Order
    output = Receipt

    async def handle(self):
        order = self.request.input
        self.response.payload = Receipt(order.id, order.total, order.lines)


class Odd(Service):
    "Told with a bell \\x07 & more."
    name = 'wsdl.odd'
    input = '-no name', 'name'
    output = 'name'

    async def handle(self):
        self.response.payload = {'name': self.request.input.name}


class Told(Service):
    name = 'wsdl.told'
    input = 'what'
    LAST = []

    async def handle(self):
        self.logger.info('One-way brought %s', self.request.input.what)


class Greet(Service):
    name = 'wsdl.greet'
    input = '-who'
    output = 'greeting'

    async def handle(self):
        self.response.payload.greeting = f'Hello {self.request.input.who}'


class Fails(Service):
    name = 'wsdl.fails'

    async def handle(self):
        raise SoapFault('Client', 'There is not enough money', '<shortage xmlns="urn:bank">10.00</shortage>')
'''

DOCUMENT = '''
security:
  - {name: wsdl.user, type: basic_auth, username: wsdl.user, password: secret}
channel_soap:
  - {name: w.balance, url_path: /w/crm, soap_action: "urn:crm/GetBalance", service: wsdl.get-balance}
  - {name: w.classic, url_path: /w/crm, soap_action: listThem, service: wsdl.classic}
  - {name: w.place, url_path: /w/crm, soap_action: PlaceOrder, service: wsdl.place-order}
  - {name: w.take, url_path: /w/crm, soap_action: TakeOrder, service: wsdl.take-order}
  - {name: w.told, url_path: /w/crm, soap_action: tell, service: wsdl.told, one_way: true}
  - {name: w.fails, url_path: /w/crm, soap_action: fail, service: wsdl.fails}
  - {name: w.fails.500, url_path: /w/fails, soap_action: fail, service: wsdl.fails, fault_status: 500}
  - name: w.forms
    url_path: /w/forms
    soap_action: forms
    service: wsdl.forms
    namespace: "urn:forms"
    soap_version: "1.2"
  - {name: w.rpc, url_path: /w/rpc, soap_action: rpc, service: wsdl.get-balance, style: rpc, operation: GetBalance}
  - {name: w.rpc.place, url_path: /w/rpc, soap_action: place, service: wsdl.place-order, style: rpc, operation: Place}
  - {name: w.secure, url_path: /w/secure, soap_action: GetBalance, service: wsdl.get-balance, security: wsdl.user}
  - {name: w.public, url_path: /w/public, soap_action: tell, service: wsdl.told,
     public_url: "https://api.example.com/esb/"}
  - {name: w.odd, url_path: /w/odd, soap_action: odd, service: wsdl.odd}
  - {name: w.odd.rpc, url_path: /w/odd, soap_action: call, service: wsdl.odd, style: rpc}
  - {name: w.greet, url_path: "/w/für {who}", soap_action: greet, service: wsdl.greet}
  - {name: w.clash.a, url_path: /w/clash, soap_action: a, service: wsdl.classic, namespace: "urn:clash"}
  - {name: w.clash.b, url_path: /w/clash, soap_action: b, service: wsdl.classic2, namespace: "urn:clash"}
channel_rest:
  - {name: w.rest, url_path: /w/crm, service: wsdl.told, method: GET}
'''
T = TypeVar('T')
AT = dt.datetime(2026, 1, 31, 12, 30, 15, tzinfo=dt.UTC)


def broker() -> Broker:
    """One server with all of them."""

    def extend(made: Broker) -> None:
        second = SERVICES.split('class Classic')[1].split('class Forms')[0]
        made.serve('wsdl_services.py', SERVICES + '\n\nclass Classic2' + second.replace('wsdl.classic', 'wsdl.classic2')
                   .replace("'name', Int('number')", "'name', Float('number')"))
        made.configure(DOCUMENT)

    return one_server().extend('wsdl', extend)


class Box(msgspec.Struct, Generic[T]):
    inside: T


class WsdlCase(TestCase):
    def setUp(self) -> None:
        self.broker = broker()

    def url(self, path: str) -> str:
        return f'http://127.0.0.1:{self.broker.port()}{path}'

    def zeep(self, path: str, **options: Any) -> Any:
        return zeep.Client(self.url(f'{path}?wsdl'), **options)

    def suds(self, path: str, **options: Any) -> Any:
        return suds.client.Client(self.url(f'{path}?wsdl'), cache=NoCache(), **options)


class ZeepTests(WsdlCase):
    def test_simple_types_by_name(self) -> None:
        """Numbers, dates and decimals as Python's own, optional ones left out; either version of SOAP by its port."""
        client = self.zeep('/w/crm')
        for port in ('w_crmSoap11', 'w_crmSoap12'):
            service = client.bind('w_crm', port)
            got = service.GetBalance(account_id=7)
            self.assertEqual((got.account_id, got.balance, got.currency), (7, Decimal('10.50'), 'EUR'))
            self.assertEqual(got.on, dt.date(2026, 1, 31))
            self.assertEqual(service.GetBalance(account_id=7, currency='PLN', on=dt.date(2020, 2, 3)).on,
                             dt.date(2020, 2, 3))

    def test_classic_simpleio(self) -> None:
        """A repeated output is a list of items, beside zato_env."""
        got = self.zeep('/w/crm').service.listThem(name='é & <x>', count=3)
        self.assertEqual(got.zato_env.result, 'ZATO_OK')
        self.assertEqual([(one.name, one.number, one.is_last) for one in got.item_list.item],
                         [('é & <x>', 0, False), ('é & <x>', 1, False), ('é & <x>', 2, True)])

    def test_models_within_models(self) -> None:
        """Lists of records, enumerations, mappings, null, and a model that holds itself."""
        client = self.zeep('/w/crm')
        order = {'id': 1, 'at': AT, 'total': Decimal('9.90'), 'lines': {'item': [
            {'sku': 'a', 'qty': 2}, {'sku': 'b', 'qty': 1, 'note': 'fragile'}]}, 'kind': 'old', 'tags': {'item': ['x']},
            'labels': {'item': [{'key': 'k 1', 'value': 5}]}}  # fmt: skip
        got = client.service.PlaceOrder(**order, parent={**order, 'id': 2})
        self.assertEqual((got.id, got.at, got.total, got.kind), (1, AT, Decimal('9.90'), 'old'))
        lines = [(line.sku, line.qty, line.note) for line in got.lines.item]
        self.assertEqual(lines, [('a', 2, None), ('b', 1, 'fragile')])
        self.assertEqual(got.tags.item, ['x', 'placed'])
        self.assertEqual([(pair.key, pair.value) for pair in got.labels.item], [('k 1', 5)])
        self.assertEqual((got.parent.id, got.parent.parent), (2, None))

    def test_one_model_for_another(self) -> None:
        """What is taken and what is given each have their own types, and those that they share."""
        client = self.zeep('/w/crm')
        lines = {'item': [{'sku': 'a', 'qty': 2}]}
        got = client.service.TakeOrder(id=7, at=AT, total=Decimal('9.90'), lines=lines)
        self.assertEqual((got.order, got.total, got.lines.item[0].sku), (7, Decimal('9.90'), 'a'))
        space = '{urn:wsdl.take-order}'
        names = {str(one.qname) for one in client.wsdl.types.types if str(one.qname).startswith(space)}
        self.assertLessEqual({f'{space}Order', f'{space}Receipt', f'{space}Line'}, names)
        self.assertNotIn(f'{space}Line2', names)

    def test_elements_of_every_form(self) -> None:
        """Lists, lists of dicts, nested ones; the channel prefers SOAP 1.2, so its port comes first."""
        client = self.zeep('/w/forms')
        self.assertEqual(next(iter(client.wsdl.services['w_forms'].ports)), 'w_formsSoap12')
        rows = {'dict': [{'a': 'x', 'b': 1}, {'a': 'y', 'b': 2}]}
        got = client.service.forms(rate=1.5, at=AT, tags={'item': ['p', 'q']}, rows=rows, who={'name': 'Ann'})
        self.assertEqual((got.rate, got.at, got.tags.item), (1.5, AT, ['p', 'q']))
        pairs = [{pair.key: pair.value for pair in row.item} for row in got.rows.dict]
        self.assertEqual(pairs, [{'a': 'x', 'b': '1'}, {'a': 'y', 'b': '2'}])
        self.assertEqual((got.who.name, got.who.age), ('Ann', None))

    def test_rpc(self) -> None:
        """Parts of a call, simple ones and records."""
        client = self.zeep('/w/rpc')
        got = client.service.GetBalance(account_id=9, currency='PLN', on=dt.date(2026, 5, 6))
        self.assertEqual((got.account_id, got.balance, got.currency), (9, Decimal('10.50'), 'PLN'))
        got = client.service.Place(id=1, at=AT, total=Decimal(1), lines={'item': [{'sku': 'a', 'qty': 2}]}, kind='new',
                                   tags={'item': []}, labels={'item': []}, parent=zeep.xsd.SkipValue)
        self.assertEqual((got.id, got.lines.item[0].sku, got.tags.item), (1, 'a', ['placed']))

    def test_one_way(self) -> None:
        """Nothing comes back; the service has had it."""
        self.assertIsNone(self.zeep('/w/crm').service.tell(what='news'))
        self.broker.logged('One-way brought news')

    def test_faults_are_zeeps_own(self) -> None:
        """With code, text and detail, in both versions: what services raise, refused input, missing elements."""
        client = self.zeep('/w/crm')
        for port in ('w_crmSoap11', 'w_crmSoap12'):
            service = client.bind('w_crm', port)
            fault = self.assertRaises(zeep.exceptions.Fault, service.fail)
            self.assertEqual(fault.message, 'There is not enough money')
            self.assertEqual(fault.detail.find('{urn:bank}shortage').text, '10.00')
            fault = self.assertRaises(zeep.exceptions.Fault, service.GetBalance, account_id=-1)
            self.assertIn('There are no accounts below 0', fault.message)

    def test_paths_of_patterns(self) -> None:
        """The address is the path that was asked, whatever is in it."""
        self.assertEqual(self.zeep('/w/f%C3%BCr%20Ann').service.greet(), 'Hello Ann')

    def test_what_no_element_can_be_called(self) -> None:
        """Is left out, being in no message, and the rest is told; so are characters that XML has no form for."""
        client = self.zeep('/w/odd')
        for port in ('w_oddSoap11', 'w_oddRpcSoap11'):
            service = client.bind('w_odd', port)
            (called,) = service._operations
            self.assertEqual(service[called](name='x'), 'x')

    def test_behind_a_login(self) -> None:
        """The WSDL is open, the channel is not."""
        client = self.zeep('/w/secure')
        self.assertRaises(zeep.exceptions.Fault, client.service.GetBalance, account_id=1)
        client.transport.session.auth = ('wsdl.user', 'secret')
        self.assertEqual(client.service.GetBalance(account_id=1).account_id, 1)


class TypesTests(TestCase):
    def test_models_are_told_apart(self) -> None:
        """By their classes, whenever they come; generic ones by what is in them, those of one name by a number."""
        made = XsdTypes()
        models = [msgspec.defstruct(name, [(field, int)]) for name, field in zip('AABC', 'abcd', strict=True)]
        asked = [*models, Box[int], Box[str], *models, Box[int]]
        found: list[Any] = [made.model_type(msgspec.inspect.type_info(one)) for one in asked]
        self.assertEqual([one.name for one in found],
                         ['A', 'A2', 'B', 'C', 'Box', 'Box2', 'A', 'A2', 'B', 'C', 'Box'])
        self.assertEqual([made.named[name].elements[0].name for name in ('A', 'A2', 'B')], ['a', 'b', 'c'])


class SudsTests(WsdlCase):
    def test_simple_types(self) -> None:
        """By position and by name."""
        client = self.suds('/w/crm')
        client.set_options(port='w_crmSoap11')
        got = client.service.GetBalance(7, 'PLN', dt.date(2026, 5, 6))
        self.assertEqual((got.account_id, str(got.balance), got.currency), (7, '10.50', 'PLN'))
        self.assertEqual(got.on, dt.date(2026, 5, 6))
        listed = client.service.listThem('x', 2)
        self.assertEqual([one.number for one in listed.item_list.item], [0, 1])

    def test_models(self) -> None:
        """Made by suds's factory from the schema."""
        client = self.suds('/w/crm')
        client.set_options(port='w_crmSoap11')
        line = client.factory.create('{urn:wsdl.place-order}Line')
        line.sku, line.qty = 'a', 2
        got = client.service.PlaceOrder(id=1, at=AT, total='1.50', lines={'item': [line]}, kind='new',
                                        tags={'item': ['x']})
        self.assertEqual((got.id, got.lines.item[0].qty, got.tags.item), (1, 2, ['x', 'placed']))

    def test_faults(self) -> None:
        """suds tells them as its own, where they have the status that SOAP 1.1 wants."""
        client = self.suds('/w/fails')
        client.set_options(port='w_failsSoap11')
        fault = self.assertRaises(WebFault, client.service.fail)
        self.assertIn('There is not enough money', str(fault.fault.faultstring))


class ServedTests(WsdlCase):
    def ask(self, target: str) -> Any:
        return ask(self.broker.port(), 'GET', target)

    def test_where_it_is(self) -> None:
        """In the ways that tools ask, as XML; the address is the listener's own, whatever a client says of it, unless
        the channel has a public one."""
        for query in ('wsdl', 'WSDL', 'wsdl=', 'Wsdl=1', 'singleWsdl'):
            connection = Connection(self.broker.port())
            hosts = 'Host: evil.example\r\nX-Forwarded-Host: evil.example\r\n'
            connection.send(f'GET /w/crm?{query} HTTP/1.1\r\n{hosts}\r\n'.encode())
            answer = connection.answer()
            connection.drop()
            self.assertEqual((answer.status, answer.field('content-type')), (200, 'text/xml; charset=utf-8'))
            self.assertIn(b'location="http://127.0.0.1:%d/w/crm"' % self.broker.port(), answer.body)
        self.assertIn(b'location="https://api.example.com/esb/w/public"', self.ask('/w/public?wsdl').body)
        self.assertEqual(self.ask('/w/forms').status, 405)
        self.assertEqual(self.ask('/w/forms').field('allow'), 'POST')
        self.assertEqual(self.ask('/w/crm').details, 'what: missing')  # of the REST channel that has the same path
        self.assertEqual(self.ask('/w/nothing?wsdl').status, 404)

    def test_by_service(self) -> None:
        """Zato's /zato/wsdl."""
        answer = self.ask('/zato/wsdl?service=wsdl.forms')
        self.assertEqual(answer.status, 200)
        self.assertIn(b'/w/forms"', answer.body)
        self.assertEqual(self.ask('/zato/wsdl?service=nobody').status, 404)
        self.assertEqual((self.ask('/zato/wsdl').status, self.ask('/zato/wsdl').details), (400, 'service: missing'))

    def test_two_that_contradict_each_other(self) -> None:
        """Are named with what to do, and nothing is told."""
        answer = self.ask('/w/clash?wsdl')
        self.assertEqual(answer.status, 409)
        says = "SOAP channels 'w.clash.a' and 'w.clash.b' have different elements called 'response'"
        self.assertIn(says, answer.details)

    def test_an_uploaded_one(self) -> None:
        """Is told in place of the one that is made, until it is taken back."""
        name = 'wsdl.forms'
        document = b'<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" name="longer than one line of base64"/>'
        self.assertEqual(self.invoke('has-wsdl', name=name)['has_wsdl'], False)
        self.invoke('set-wsdl', name=name, wsdl=encodebytes(document).decode(), wsdl_name='forms.wsdl')
        self.assertEqual(self.invoke('has-wsdl', name=name)['has_wsdl'], True)
        got = self.invoke('get-wsdl', service=name)
        self.assertEqual((b64decode(got['wsdl']), got['wsdl_name']), (document, 'forms.wsdl'))
        self.assertEqual(self.ask('/w/forms?wsdl').body, document)
        self.assertEqual(self.ask(f'/zato/wsdl?service={name}').body, document)
        self.invoke('set-wsdl', name=name, wsdl='')
        self.assertIn(b'urn:forms', self.ask('/w/forms?wsdl').body)

    def test_what_is_no_wsdl_is_refused(self) -> None:
        """In one sentence each."""
        for wsdl, says in (('?', '$.wsdl: is not base64'), (encodebytes(b'{}').decode(), '$.wsdl: is no XML in UTF-8')):
            answer = self.asked('set-wsdl', name='wsdl.forms', wsdl=wsdl)
            self.assertEqual(answer.status, 400)
            self.assertIn(says, answer.details)
        self.assertEqual(self.asked('get-wsdl', service='nobody').status, 404)

    def asked(self, action: str, **request: str) -> Any:
        import json

        return self.broker.invoke(f'zato.service.{action}', json.dumps(request).encode())

    def invoke(self, action: str, **request: str) -> Any:
        answer = self.asked(action, **request)
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json()[f'zato_service_{action.replace("-", "_")}_response']
