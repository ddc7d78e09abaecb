"""SOAP from request bytes to response bytes, through channels and services."""

from __future__ import annotations

from typing import Any

import msgspec
from lxml import etree, objectify
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.soap import ACTION, ZATO, SoapSide, envelope
from zatotx import Date, Decimal, Int, List, Service
from zatotx.api.admin_service import AdminService
from zatotx.api.health import Ping
from zatotx.wire.soap.envelope import NS_11, NS_12, SOAP_11, SOAP_12, VERSIONS

NS = 'urn:crm.get-balance'  # of messages, where neither the channel nor the service says one
OWN = 'urn:crm'


class Item(msgspec.Struct):
    sku: str
    qty: int


class Order(msgspec.Struct):
    id: int
    items: list[Item]
    note: str | None = None


class GetBalance(Service):
    name = 'crm.get-balance'
    input = Int('account_id'), '-currency'
    output = Decimal('balance'), 'currency'

    async def handle(self) -> None:
        self.response.payload = {'balance': '120.50', 'currency': self.request.input.currency or 'EUR'}


class Echo(Service):
    name = 'crm.echo'

    async def handle(self) -> None:
        self.response.payload = self.request.payload


class Answers(Service):
    """Responds with `made`."""

    name = 'crm.answers'
    made: Any = ''

    async def handle(self) -> None:
        self.response.payload = self.made


class Keeps(Service):
    """Responds with nothing, and records its input."""

    name = 'crm.keeps'
    asked: Any = None

    async def handle(self) -> None:
        type(self).asked = self.request


def answering(value: Any) -> SoapSide:
    return SoapSide(type('Made', (Answers,), {'made': value, '__module__': __name__}))


class InputTests(SynchronousTestCase):
    def test_declared_input(self) -> None:
        """The children of the Body's first element, in either version and any namespace, become `request.input`; the
        response element has the operation's name and namespace."""
        side = SoapSide(GetBalance)
        for version in VERSIONS:
            for asked in ('<getBalance xmlns="urn:any"><account_id>1</account_id></getBalance>',
                          '<x:q xmlns:x="u:x"><x:account_id> 1 </x:account_id><currency>PLN</currency></x:q>'):
                answer = side.ask(asked, version=version)
                self.assertEqual(answer.status, 200, answer.body)
                self.assertEqual(answer.envelope.version.number, version)
                self.assertEqual(answer.payload.tag, f'{{{NS}}}getBalanceResponse')
                expected = 'PLN' if 'PLN' in asked else 'EUR'
                self.assertEqual((answer.payload.balance.text, answer.payload.currency.text), ('120.50', expected))

    def test_content_types(self) -> None:
        """text/xml for 1.1 and application/soap+xml for 1.2, in UTF-8."""
        side = SoapSide(Echo)
        for version, expected in (('1.1', b'text/xml; charset=utf-8'), ('1.2', b'application/soap+xml; charset=utf-8')):
            self.assertEqual(side.ask('<a/>', version=version).headers[b'content-type'], expected)

    def test_all_mistakes(self) -> None:
        """400 with a fault that names every invalid element by its path, in the text and as items of the detail."""
        side = SoapSide(GetBalance)
        for version in VERSIONS:
            answer = side.ask('<q><account_id>one</account_id></q>', version=version)
            self.assertEqual((answer.status, answer.fault.code), (400, 'Sender'))
            ((path, why),) = answer.wrong
            self.assertEqual(path, '$.account_id')
            self.assertIn(f'{path}: {why}', answer.fault.reason)
        self.assertEqual(side.ask('<q/>').wrong, [('$.account_id', 'missing')])

    def test_nested_and_repeated(self) -> None:
        """Models are parsed from XML as on XML channels, and serialized back."""

        class Store(Service):
            name = 'shop.store'
            input = Order
            output = Order

            async def handle(self) -> None:
                self.response.payload = self.request.input

        side = SoapSide(Store, namespace=OWN)
        items = '<items><item><sku>a</sku><qty>1</qty></item><item><sku>b</sku><qty>2</qty></item></items>'
        answer = side.ask(f'<order xmlns="{OWN}"><id>7</id>{items}</order>')
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(answer.payload.tag, f'{{{OWN}}}{ACTION}Response')
        self.assertEqual([one.text for one in answer.payload.iter(f'{{{OWN}}}sku')], ['a', 'b'])
        wrong = side.ask(f'<order><id>x</id>{items.replace("2", "two")}</order>').wrong
        self.assertEqual([path for path, _ in wrong], ['$.id', '$.items[1].qty'])

    def test_classic_simple_io(self) -> None:
        """request_elem, response_elem and namespace work as in Zato."""

        class Classic(Service):
            name = 'crm.classic'

            class SimpleIO:
                request_elem = 'ask'
                response_elem = 'said'
                namespace = OWN
                input_required = (Int('id'), List('tags'))
                output_required = ('name', Date('since'))

            async def handle(self) -> None:
                self.response.payload.name = ','.join(self.request.input.tags)
                self.response.payload.since = '2026-01-31'

        side = SoapSide(Classic)
        asked = '<ask xmlns="{}"><id>1</id><tags><item>a</item><item>b</item></tags></ask>'
        answer = side.ask(asked.format(OWN))
        self.assertEqual(answer.payload.tag, f'{{{OWN}}}said')
        self.assertEqual((answer.payload.zato_env.cid.text, answer.payload.item.name.text), (answer.cid, 'a,b'))
        self.assertEqual(side.ask(asked.format('urn:other')).status, 400)

    def test_undeclared(self) -> None:
        """Without declarations, the payload is the Body's first element, and the input its content."""
        side = SoapSide(Keeps)
        self.assertEqual(side.ask('<a xmlns="u:a"><b>1</b><c><d>2</d></c></a><more/>').status, 200)
        asked = Keeps.asked
        self.assertEqual((asked.payload.tag, asked.payload.c.d), ('{u:a}a', 2))
        self.assertEqual((asked.input.b, asked.input.c['d']), ('1', '2'))
        self.assertEqual([one.tag for one in asked.soap.body.iterchildren()], ['{u:a}a', 'more'])
        self.assertTrue(asked.raw_request.startswith(b'<s:Envelope'))
        self.assertEqual(asked.data_format, 'xml')

    def test_an_empty_body(self) -> None:
        """An empty Body is valid: there is no payload, and required input is missing."""
        self.assertEqual(SoapSide(Keeps).ask('').status, 200)
        self.assertIsNone(Keeps.asked.payload)
        answer = SoapSide(GetBalance).ask('')
        self.assertEqual((answer.status, answer.wrong), (400, [('$.account_id', 'missing')]))

    def test_parameters_of_the_url(self) -> None:
        """Path and query parameters are part of the input."""
        side = SoapSide(GetBalance, url_path='/accounts/{account_id}')
        answer = side.ask('<q/>', path='/accounts/1?currency=PLN')
        self.assertEqual(answer.payload.currency.text, 'PLN')


class RpcTests(SynchronousTestCase):
    def test_calls(self) -> None:
        """RPC/literal: the wrapper is in the namespace of the service or else of the channel, its parts are in none
        (Basic Profile 1.1, R2717, R2735)."""

        class Classic(Service):
            name = 'crm.classic'
            input = Int('account_id')

            class SimpleIO:
                namespace = 'urn:service'

            output = 'currency', 'note'

            async def handle(self) -> None:
                self.response.payload = {'currency': 'EUR', 'note': None}

        for service, namespace in ((GetBalance, OWN), (Classic, 'urn:service')):
            side = SoapSide(service, style='rpc', namespace=OWN)
            answer = side.ask(f'<m:getBalance xmlns:m="{namespace}"><account_id>1</account_id></m:getBalance>')
            self.assertEqual(answer.payload.tag, f'{{{namespace}}}getBalanceResponse', answer.body)
            self.assertEqual(answer.payload.find('currency').text, 'EUR')

    def test_services_of_any_name(self) -> None:
        """The derived namespace is a URI and the operation a valid name, whatever the service is called."""
        made = type('Named', (Answers,), {'made': 5, 'name': 'żółw [1].got "it"'})
        answer = SoapSide(made, soap_action='').ask('<q/>', action='')
        self.assertEqual(answer.payload.tag, '{urn:%C5%BC%C3%B3%C5%82w%20%5B1%5D.got%20%22it%22}got_it_Response')

    def test_names(self) -> None:
        """A channel may set operation and namespace."""
        answer = SoapSide(GetBalance, operation='Balance', namespace=OWN).ask('<q><account_id>1</account_id></q>')
        self.assertEqual(answer.payload.tag, f'{{{OWN}}}BalanceResponse')
        answer = SoapSide(GetBalance, soap_action='').ask('<q><account_id>1</account_id></q>', action='')
        self.assertEqual(answer.payload.tag, f'{{{NS}}}getBalanceResponse')


class OutputTests(SynchronousTestCase):
    def test_an_element(self) -> None:
        """An element is put into the Body as it is, with its namespaces, whether from the request or created by the
        service."""
        answer = SoapSide(Echo).ask('<a:b xmlns:a="u:a" a:c="1"><a:d>ż &amp; &lt;</a:d></a:b>')
        self.assertEqual((answer.payload.tag, answer.payload.get('{u:a}c')), ('{u:a}b', '1'))
        self.assertEqual(answer.payload['{u:a}d'].text, 'ż & <')
        made = objectify.Element('{u:m}made')
        made.amount = 10
        answer = answering(made).ask('<q/>')
        self.assertEqual((answer.payload.tag, answer.payload.amount.text), ('{u:m}made', '10'))
        self.assertNotIn(b'pytype', answer.body)
        self.assertEqual(answering(etree.fromstring('<x/>')).ask('<q/>').payload.tag, 'x')

    def test_xml(self) -> None:
        """XML as text or bytes is put into the Body, whatever its declaration and encoding."""
        latin = '<?xml version="1.0" encoding="ISO-8859-1"?>\n<a>ż</a>'.replace('ż', 'é')
        for made, text in (
            ('<a>ż</a>', 'ż'), ('\n <a>ż</a>\n', 'ż'), ('<a>ż</a>'.encode(), 'ż'), (latin, 'é'),
            (latin.encode('latin-1'), 'é'), ('<?xml version="1.0"?><a>ż</a>', 'ż'), ('\ufeff<a>ż</a>', 'ż'),
            (b'\xef\xbb\xbf<a>1</a>', '1'), ('<?xml version="1.0" encoding="UTF-16"?><a>ż</a>'.encode('utf-16'), 'ż'),
        ):  # fmt: skip
            answer = answering(made).ask('<q/>')
            self.assertEqual((answer.status, answer.payload.tag, answer.payload.text), (200, 'a', text), made)

    def test_other_values(self) -> None:
        """Text, numbers, dicts and lists become the operation's response; None an empty one."""
        ns = 'urn:zatotx-test'
        for made, expected in (
            ('not XML & more', 'not XML &amp; more'), ('', ''), (b'', ''), (b'\x00\x01', 'AAE='), (5, '5'),
            ({'a': 1, 'b': True}, '<a>1</a><b>true</b>'), (['x', 'y'], '<item>x</item><item>y</item>'),
        ):  # fmt: skip
            answer = SoapSide(type('Made', (Answers,), {'made': made}), namespace=ns).ask('<q/>')
            self.assertEqual(answer.payload.tag, f'{{{ns}}}{ACTION}Response')
            inside = answer.body.partition(b'Response xmlns="%s">' % ns.encode())[2].partition(b'</getBalanceR')[0]
            self.assertEqual(inside.decode(), expected, made)

    def test_whole_envelopes(self) -> None:
        """A complete envelope made by the service is sent unchanged, as text, bytes or element."""
        made = envelope('<x/>', SOAP_12, '<h xmlns="u:h"/>')
        for value in (made, made.decode(), b'<?xml version="1.0"?>\n' + made):
            self.assertEqual(answering(value).ask('<q/>').body.removeprefix(b'<?xml version="1.0"?>\n'), made)
        self.assertEqual(answering(etree.fromstring(made)).ask('<q/>').envelope.headers[0].tag, '{u:h}h')

    def test_what_would_break_the_envelope(self) -> None:
        """Invalid XML, or XML with a DTD, is an error of the service; nothing of it is sent."""
        for made in ('<a>', '<a/></s:Body><b/>', '<!DOCTYPE a><a/>', '<a/><b/>', '<a>\ud800</a>', b'<a>\xff</a>'):
            answer = answering(made).ask('<q/>')
            self.assertEqual((answer.status, answer.fault.code), (500, 'Receiver'), made)
            self.assertNotIn(b'DOCTYPE', answer.body)

    def test_status_and_headers(self) -> None:
        """A service may set HTTP status and headers, as on other channels."""

        class Own(Service):
            name = 'crm.own'

            async def handle(self) -> None:
                self.response.status_code = 203
                self.response.headers['X-Own'] = 'yes'
                self.response.content_type = 'text/xml; charset=UTF-8'
                self.response.payload = '<a/>'

        answer = SoapSide(Own).ask('<q/>')
        self.assertEqual((answer.status, answer.headers[b'x-own'], answer.headers[b'content-type']),
                         (203, b'yes', b'text/xml; charset=UTF-8'))  # fmt: skip

    def test_one_way(self) -> None:
        """An empty 202 after the service has succeeded, a fault if it failed."""

        class Takes(Service):
            name = 'crm.takes'
            input = 'what'
            taken: tuple[str, ...] = ()

            async def handle(self) -> None:
                if self.request.input.what == 'bad':
                    raise ValueError('inside')
                Takes.taken += (self.request.input.what,)
                self.response.payload = {'ignored': True}

        side = SoapSide(Takes, one_way=True)
        for version in VERSIONS:
            answer = side.ask('<q><what>this</what></q>', version=version)
            self.assertEqual((answer.status, answer.body), (202, b''))
            self.assertNotIn(b'content-type', answer.headers)
        self.assertEqual(Takes.taken, ('this', 'this'))
        self.assertEqual(side.ask('<q><what>bad</what></q>').status, 500)
        self.assertEqual(side.ask('<q/>').wrong, [('$.what', 'missing')])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class BadMessageTests(SynchronousTestCase):
    def test_refused_in_the_version_that_was_asked(self) -> None:
        """400 with a client fault and the cid in the request's version; the service does not run."""
        side = SoapSide(Keeps)
        Keeps.asked = None
        for version, namespace in (('1.1', NS_11), ('1.2', NS_12)):
            body = '<s:Body><a/></s:Body>'
            for inside, why in (
                ('', 'has no Body'), (body + body, 'two Bodies'), (body + '<s:Header/>', 'stands after the Body'),
                (f'<s:Body><s:Envelope>{body}</s:Envelope></s:Body>', 'a message within the message'),
                ('<s:Body>&undeclared;</s:Body>', 'Malformed XML'), ('<s:Body><a></s:Body>', 'Malformed XML'),
            ):  # fmt: skip
                sent = f'<s:Envelope xmlns:s="{namespace}">{inside}</s:Envelope>'.encode()
                answer = side.send(sent, version=version)
                self.assertEqual((answer.status, answer.envelope.version.number), (400, version), inside)
                self.assertEqual(answer.fault.code, 'Sender')
                self.assertIn(why, answer.fault.reason)
                self.assertIn(answer.cid.encode(), answer.body)
        for sent in (b'', b'{}', b'<a/>', b'\x00', b'<!DOCTYPE a><a/>'):
            self.assertEqual(side.send(sent).fault.code, 'Sender', sent)
        self.assertIsNone(Keeps.asked)

    def test_unknown_versions(self) -> None:
        """VersionMismatch: 1.1's fault for requests like 1.1, else 1.2's with the supported versions in its header."""
        sent = b'<e:Envelope xmlns:e="http://www.w3.org/2001/12/soap-envelope"><e:Body/></e:Envelope>'
        for version in VERSIONS:
            answer = SoapSide(Echo).send(sent, version=version)
            self.assertEqual((answer.status, answer.fault.code), (400, 'VersionMismatch'))
            self.assertEqual(answer.envelope.version.number, version)
        (header,) = answer.envelope.headers
        self.assertEqual(header.tag, f'{{{NS_12}}}Upgrade')

    def test_either_version_is_answered(self) -> None:
        """A channel supports both versions, and responds in that of the envelope, whatever the content type."""
        for soap_version in VERSIONS:
            side = SoapSide(Echo, soap_version=soap_version)
            for version, asked in VERSIONS.items():
                for named in VERSIONS:
                    answer = side.send(envelope('<a/>', asked), version=named)
                    self.assertEqual((answer.status, answer.envelope.version.number), (200, version))

    def test_hidden_bodies(self) -> None:
        """Body elements in headers or in the payload are ignored."""
        side = SoapSide(Keeps)
        for asked in (SOAP_11, SOAP_12):
            hidden = envelope('<evil/>', asked).decode()
            for header, inside in ((hidden, '<good/>'), (f'<w xmlns="u:w">{hidden}</w>', '<good/>'),
                                   ('', f'<good>{hidden}</good>')):  # fmt: skip
                self.assertEqual(side.ask(inside, version=asked.number, header=header).status, 200)
                self.assertEqual(Keeps.asked.payload.tag, 'good')


class Secrets(AdminService):
    name = 'zato.test.secrets'

    class SimpleIO:
        input_required = ('a',)
        output_required = ('a',)
        output_repeated = True

    async def handle(self) -> None:
        self.response.payload = [{'a': self.request.input.a}, {'a': 2}]


class DoorTests(SynchronousTestCase):
    """`/zato/soap`, in Zato's wire form (feature map 11.2)."""

    def setUp(self) -> None:
        self.side = SoapSide(Keeps, internal=(Ping, Secrets))

    def test_one_record(self) -> None:
        """zato_env with cid and result, and the item, in Zato's namespace."""
        for version in VERSIONS:
            answer = self.side.ask(f'<zato_ping_request xmlns="{ZATO}"/>', action='zato.ping', path='/zato/soap',
                                   version=version)  # fmt: skip
            self.assertEqual((answer.status, answer.payload.tag), (200, f'{{{ZATO}}}zato_ping_response'))
            self.assertEqual(answer.payload.zato_env.result.text, 'ZATO_OK')
            self.assertEqual(answer.payload.zato_env.cid.text, answer.cid)
            self.assertEqual(answer.payload.item.pong.text, 'zato')

    def test_a_list(self) -> None:
        """An item_list of items; the request's fields are its children."""
        answer = self.side.ask(f'<any_request xmlns="{ZATO}"><a>1</a></any_request>', action=Secrets.name,
                               path='/zato/soap')  # fmt: skip
        self.assertEqual([one.a.text for one in answer.payload.item_list.iterchildren()], ['1', '2'])

    def test_mistakes(self) -> None:
        """Bad input is a fault; unknown services and services of users are 404."""
        answer = self.side.ask('<q/>', action=Secrets.name, path='/zato/soap')
        self.assertEqual((answer.status, answer.wrong), (400, [('$.a', 'missing')]))
        for name in ('zato.none', Keeps.name):
            answer = self.side.ask('<q/>', action=name, path='/zato/soap')
            self.assertEqual((answer.status, answer.fault.code), (404, 'Sender'))
            self.assertIn(name, answer.fault.reason)
