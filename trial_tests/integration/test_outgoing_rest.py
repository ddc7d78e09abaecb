"""`self.out.rest`: what goes out, and what comes back."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import treq
from lxml import etree

from trial_tests.support.calling import CID, COMPONENT, Asking, WithConnections, collecting, crm, stored
from zatotx import BadGateway, BadStatus, Inactive, Model, NotFound, Timeout, __version__
from zatotx.plugins.http.client.errors import BadRedirect
from zatotx.plugins.http.rest.facade import RestNamespace
from zatotx.plugins.http.schema.outgoing_rest import OUTGOING_REST
from zatotx.plugins.http.test.upstream_servers import Peer, Request, raw, reactor, says
from zatotx.schema.validation import validate

JSON = b'Content-Type: application/json'


class Customer(msgspec.Struct):
    id: int
    name: str = ''


@dataclass
class Order:
    id: int
    tags: list[str]


@dataclass(init=False)
class ZatoCustomer(Model):
    id: int
    name: str


class Calling(WithConnections):
    """Tests with a peer that answers all there is with `{"id": 1}`."""

    def setUp(self) -> None:
        super().setUp()
        self.peer = self.listen(says(b'200 OK', b'{"id": 1}', JSON))

    @property
    def last(self) -> Request:
        """What the peer was sent last."""
        return self.peer.requests[-1]

    def answered(self, body: bytes, *lines: bytes, status: bytes = b'200 OK', **fields: Any) -> Any:
        """A connection to a peer that always answers so."""
        return self.crm(self.listen(says(status, body, *lines)), **fields)


class RequestTests(Calling):
    async def test_methods(self) -> None:
        """Each has its own; call takes any, and the connection's where none is said."""
        rest = self.crm(self.peer, method='PURGE')
        for method in ('get', 'post', 'put', 'patch', 'delete', 'head', 'options'):
            if method != 'head':  # whose answer has no body
                await getattr(rest, method)()
                self.assertEqual(self.last.method, method.upper().encode())
        await rest.call('REPORT')
        self.assertEqual(self.last.method, b'REPORT')
        await rest.call()
        self.assertEqual(self.last.method, b'PURGE')

    async def test_head(self) -> None:
        """An answer without a body, whatever length it tells."""
        rest = self.crm(self.listen(raw(b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n')))
        response = await rest.head()
        self.assertEqual((response.content, response.headers['content-length']), (b'', '9'))

    async def test_path_and_query(self) -> None:
        """Parameters that stand in the path are taken out of params, the others become the query."""
        rest = self.crm(self.peer, url_path='/customers/{id}/orders?active=true')
        params = {'id': 'a/b', 'q': ['x y', 1], 'none': None}
        await rest.get(params=params)
        self.assertEqual(self.last.target, b'/customers/a%2Fb/orders?active=true&q=x%20y&q=1')
        self.assertEqual(params, {'id': 'a/b', 'q': ['x y', 1], 'none': None})

    async def test_other_params(self) -> None:
        """Pairs, and a query that is one already."""
        rest = self.crm(self.peer, url_path='/a')
        await rest.get(params=[('a', 1), ('a', 2)])
        self.assertEqual(self.last.target, b'/a?a=1&a=2')
        await rest.get(params='x=%20&y')
        self.assertEqual(self.last.target, b'/a?x=%20&y')

    async def test_host_with_a_path(self) -> None:
        """What the URL of the host has as its path stands before that of the connection."""
        for base, path, target in (('', '', b'/'), ('/', '/a', b'/a'), ('/v1', '', b'/v1'), ('/v1/', '/a', b'/v1/a')):
            host = f'http://127.0.0.1:{self.peer.port}{base}'
            await self.crm(self.peer, host=host, url_path=path).get()
            self.assertEqual(self.last.target, target)

    async def test_missing_parameters(self) -> None:
        """Nothing is sent; the error names the parameters and where they are missing."""
        rest = self.crm(self.peer, url_path='/{region}/{id}')
        refused = self.assertRaises(ValueError, rest.get, params={'q': 1})
        self.assertEqual(str(refused), 'The URL path /{region}/{id} cannot be filled: params has no region, params has '
                                       'no id')
        self.assertEqual(self.peer.requests, [])

    async def test_own_fields(self) -> None:
        """Who calls, in which request, when, and how much time there is; in which trace, where there is one."""
        trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
        rest = self.crm(self.peer, call=Asking(trace=trace), data_format='json', timeout=7)
        await rest.get()
        fields = self.last.headers
        self.assertEqual(fields[b'x-zato-cid'], CID.encode())
        self.assertEqual(fields[b'x-zato-component'], COMPONENT.encode())
        self.assertRegex(fields[b'x-zato-msg-ts'].decode(), r'^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$')
        self.assertEqual(fields[b'traceparent'], trace.encode())
        self.assertTrue(3000 < int(fields[b'x-zato-deadline-ms']) <= 7000)
        self.assertEqual(fields[b'user-agent'], f'zatotx/{__version__}'.encode())
        self.assertEqual(fields[b'accept'], b'application/json')
        self.assertEqual(fields[b'host'], f'127.0.0.1:{self.peer.port}'.encode())
        self.assertNotIn(b'content-type', fields)
        await self.crm(self.peer, call=Asking(deadline=reactor.seconds() + 2)).get()
        self.assertTrue(0 < int(self.last.headers[b'x-zato-deadline-ms']) < 2000)
        self.assertNotIn(b'traceparent', self.last.headers)

    async def test_fields_of_the_service(self) -> None:
        """They are sent instead of those of the connection, in whatever case; None sends none."""
        rest = self.crm(self.peer, data_format='json')
        await rest.post({'a': 1}, headers={
            'accept': 'text/csv', 'X-ZATO-CID': 'mine', 'User-Agent': None, 'X-Id': 5, 'X-Name': 'ž',
            'content-type': 'application/merge-patch+json',
        })  # fmt: skip
        fields = self.last.headers
        self.assertEqual((fields[b'accept'], fields[b'x-zato-cid'], fields[b'x-id']), (b'text/csv', b'mine', b'5'))
        self.assertEqual((fields[b'content-type'], fields[b'x-name']), (b'application/merge-patch+json', 'ž'.encode()))
        self.assertNotIn(b'user-agent', fields)
        lines = [name.lower() for name, value in self.last.headers.items()]
        self.assertEqual(len(lines), len(set(lines)))

    async def test_fields_that_cannot_be_sent(self) -> None:
        """What would end a line, or frames the request, is refused by name, and no value is shown."""
        rest = self.crm(self.peer)
        for headers in ({'X-A': 'x\r\nX-Injected: yes'}, {'Content-Length': '5'}, {'X A': 'x'}):
            refused = await self.fault(rest.get(headers=headers), ValueError)
            self.assertNotIn('Injected', str(refused))
        self.assertEqual(self.peer.requests, [])

    async def test_unknown_arguments(self) -> None:
        """Are a mistake, not silently left out: `verify=False` of requests would be dangerous to overlook."""
        rest = self.crm(self.peer)
        self.assertIn('verify', str(self.assertRaises(TypeError, rest.get, verify=False)))
        self.assertIn('files', str(self.assertRaises(TypeError, rest.conn.post, CID, 'x', files={})))


class BodyTests(Calling):
    async def sent(self, data: Any, **fields: Any) -> tuple[bytes, bytes]:
        """The body and the type of it that the peer got."""
        await self.crm(self.peer, **fields).post(data)
        return self.last.body, self.last.headers.get(b'content-type', b'')

    async def test_values(self) -> None:
        """Are JSON: dicts, lists, Structs, dataclasses, Models."""
        customer = ZatoCustomer.from_dict({'id': 1, 'name': 'ž'})
        for data, expected in (({'a': [1, None, 'ž']}, b'{"a":[1,null,"\xc5\xbe"]}'), ([], b'[]'), (5, b'5'),
                               (True, b'true'), (Customer(1, 'n'), b'{"id":1,"name":"n"}'),
                               (Order(1, ['a']), b'{"id":1,"tags":["a"]}'), (customer, b'{"id":1,"name":"\xc5\xbe"}'),
                               ):  # fmt: skip
            for data_format in ('', 'json'):
                found = await self.sent(data, data_format=data_format)
                self.assertEqual(found, (expected, b'application/json'), data)

    async def test_text_and_bytes(self) -> None:
        """Go as they are, under the type of the data format, or else of what they are."""
        for data_format, of_text, of_bytes in (
            ('', b'text/plain; charset=utf-8', b'application/octet-stream'),
            ('json', b'application/json', b'application/json'), ('xml', b'application/xml', b'application/xml'),
        ):  # fmt: skip
            self.assertEqual(await self.sent('ž', data_format=data_format), ('ž'.encode(), of_text))
            self.assertEqual(await self.sent(b'\0\xff', data_format=data_format), (b'\0\xff', of_bytes))
        self.assertEqual(await self.sent('a', content_type='text/csv'), (b'a', b'text/csv'))

    async def test_nothing(self) -> None:
        """No data, and Zato's empty text, are no body; the request says so."""
        for data in (None, ''):
            self.assertEqual(await self.sent(data, data_format='json'), (b'', b''))
            self.assertEqual(self.last.headers[b'content-length'], b'0')
        await self.crm(self.peer).get()
        self.assertNotIn(b'content-length', self.last.headers)

    async def test_xml(self) -> None:
        """Elements of lxml, whatever the data format; a dict has no form in XML."""
        element = etree.fromstring('<a b="1"><c>ž</c></a>')
        for data_format in ('', 'json', 'xml'):
            self.assertEqual(await self.sent(element, data_format=data_format),
                             ('<a b="1"><c>ž</c></a>'.encode(), b'application/xml'))  # fmt: skip
        refused = self.assertRaises(TypeError, self.crm(self.peer, data_format='xml').post, {'a': 1})
        self.assertEqual(str(refused), 'data_format xml sends text, bytes and elements of lxml, not a dict')

    async def test_forms(self) -> None:
        """Mappings and pairs by data_format form."""
        kind = b'application/x-www-form-urlencoded'
        for data, body in (({'a': 'ž &', 'b': [1, 2]}, b'a=%C5%BE%20%26&b=1&b=2'), ([('a', 1), ('a', 2)], b'a=1&a=2')):
            self.assertEqual(await self.sent(data, data_format='form'), (body, kind))

    async def test_what_has_no_form(self) -> None:
        """TypeError names the type; nothing is sent."""
        self.assertIn('object', str(self.assertRaises(TypeError, self.crm(self.peer).post, {'a': object()})))
        self.assertEqual(self.peer.requests, [])


class UploadTests(WithConnections):
    """Bodies that are made while they go out."""

    def setUp(self) -> None:
        super().setUp()
        self.bodies: list[tuple[dict[bytes, bytes], bytes]] = []
        self.peer = collecting(self.listen(says()), self.bodies)

    async def sent(self, data: Any, **fields: Any) -> tuple[dict[bytes, bytes], bytes]:
        await self.crm(self.peer, **fields).post(data)
        return self.bodies[-1]

    async def test_iterators(self) -> None:
        """Async ones on the reactor, plain ones in threads, of text or bytes: in chunks, their length is not known."""

        async def pieces() -> AsyncIterator[Any]:
            yield 'ž'
            yield b''
            yield b'b' * 100_000

        def plain() -> Iterator[Any]:
            yield b'a'
            yield 'b'

        fields, body = await self.sent(pieces())
        self.assertEqual((body, fields[b'transfer-encoding']), ('ž'.encode() + b'b' * 100_000, b'chunked'))
        _, body = await self.sent(plain())
        self.assertEqual(body, b'ab')

    async def test_files(self) -> None:
        """From where they stand to their end, with their length; text files in chunks."""
        path = Path(self.mktemp())
        path.write_bytes(b'0123456789' * 20_000)
        with path.open('rb') as file:
            file.seek(5)
            fields, body = await self.sent(file)
            self.assertEqual((body, fields[b'content-length']), (path.read_bytes()[5:], b'199995'))
        for made in (io.BytesIO(b'abc'), io.StringIO('abc')):
            _, body = await self.sent(made)
            self.assertEqual(body, b'abc')
        with path.open('r') as text:
            fields, body = await self.sent(text)
            self.assertEqual((len(body), fields[b'transfer-encoding']), (200_000, b'chunked'))

    async def test_a_source_that_breaks_off(self) -> None:
        """What it raised is what the service gets."""

        async def pieces() -> AsyncIterator[bytes]:
            yield b'a'
            raise KeyError('mine')

        await self.fault(self.sent(pieces()), KeyError)


class ResponseTests(Calling):
    async def test_face(self) -> None:
        """Names as in requests, and what Zato has beside them."""
        rest = self.answered('{"a": "ž"}'.encode(), b'Content-Type: application/json; charset=utf-8', b'X-Two: a',
                             b'x-two: b', status=b'201 Made')
        response = await rest.get()
        self.assertEqual((response.status_code, response.ok, response.reason), (201, True, 'Made'))
        self.assertEqual((response.text, response.content), ('{"a": "ž"}', '{"a": "ž"}'.encode()))
        self.assertEqual((response.json(), response.data), ({'a': 'ž'}, {'a': 'ž'}))
        self.assertIs(response.data, response.data)
        self.assertEqual((response.headers['x-TWO'], response.headers.get('nope')), ('a, b', None))
        self.assertIn('X-Two', list(response.headers))
        self.assertIn('content-TYPE', response.headers)
        self.assertEqual(response.cid, CID)
        response.raise_for_status()
        self.assertEqual(repr(response), '<Response 201 of Outgoing connection CRM (rest)>')

    async def test_any_status_is_an_answer(self) -> None:
        """raise_for_status makes a fault of it that names the connection and has the answer."""
        for status, words in ((b'404 Not Found', '404 Not Found'), (b'500 ', '500 Internal Server Error'),
                              (b'599 ', '599')):  # fmt: skip
            response = await self.answered(b'why', b'Content-Type: text/plain', status=status).get()
            self.assertFalse(response.ok)
            fault = self.assertRaises(BadStatus, response.raise_for_status)
            self.assertEqual(fault.msg, f'Outgoing connection CRM (rest) answered {words}')
            self.assertEqual((fault.status, fault.status_code, fault.response.text, fault.cid),
                             (502, int(status[:3]), 'why', CID))  # fmt: skip

    async def test_data(self) -> None:
        """By what the answer says it is; where it says nothing, by the connection's data format."""
        for content_type, data_format, body, expected in (
            (b'application/json', '', b'[1]', [1]), (b'application/problem+json; x=y', 'xml', b'{}', {}),
            (b'text/plain', 'json', b'[1]', [1]), (b'application/octet-stream', 'json', b'[1]', [1]),
            (b'text/html', 'json', b'<h1>', '<h1>'), (b'text/plain', '', b'\xc5\xbe', 'ž'),
            (b'text/plain; charset="latin-1"', '', b'\xe9', 'é'), (b'text/csv', '', b'a,b', 'a,b'),
            (b'text/plain; charset=nope', '', b'a', 'a'), (b'image/png', 'json', b'\x89', b'\x89'),
            (b'application/octet-stream', '', b'\0', b'\0'),
            (b'application/x-www-form-urlencoded', 'json', b'a=1&b=%20', {'a': '1', 'b': ' '}),
            (b'text/plain', 'form', b'a=1', {'a': '1'}), (b'application/json', '', b'', None),
        ):  # fmt: skip
            rest = self.answered(body, b'Content-Type: ' + content_type, data_format=data_format)
            self.assertEqual((await rest.get()).data, expected, content_type)
        self.assertEqual((await self.answered(b'[1]', data_format='json').get()).data, [1])
        self.assertEqual((await self.answered(b'\0').get()).data, b'\0')

    async def test_xml_data(self) -> None:
        """An element as lxml.objectify has it; large documents are parsed in a thread. Entities are refused."""
        for count in (1, 30_000):
            body = b'<a><b>1</b>' + b'<c>text</c>' * count + b'</a>'
            response = await self.answered(body, b'Content-Type: application/xml', max_response_size=10**7).get()
            self.assertEqual((response.data.b, len(response.data.findall('c'))), (1, count))
        bomb = b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>' + b' ' * 300_000
        for body in (bomb[:40], bomb, b'<a>'):
            response = await self.answered(body, data_format='xml').get()
            with self.assertRaises(BadGateway) as caught:
                self.assertIsNone(response.data)
            self.assertIn('gave no usable answer: it is not XML: ', caught.exception.msg)

    async def test_data_that_is_none(self) -> None:
        """BadGateway names the connection, and only when somebody asks for the data."""
        response = await self.answered(b'{"a": ', JSON).get()
        self.assertEqual(response.text, '{"a": ')
        with self.assertRaises(BadGateway) as caught:
            self.assertIsNone(response.data)
        self.assertEqual(caught.exception.msg, 'Outgoing connection CRM (rest) gave no usable answer: it is not JSON: '
                                               'the text ends too early (byte 6)')
        self.assertRaises(ValueError, response.json)

    async def test_models(self) -> None:
        """A Struct, a dataclass, a Model of Zato, one or a list of them."""
        for body, model, expected in (
            (b'{"id": 1, "name": "n"}', Customer, Customer(1, 'n')), (b'[{"id": 1}]', list[Customer], [Customer(1)]),
            (b'[{"id": 1}, {"id": 2}]', Customer, [Customer(1), Customer(2)]),
            (b'{"id": 1, "tags": []}', Order, Order(1, [])), (b'{"a": 1}', dict[str, int], {'a': 1}),
        ):  # fmt: skip
            self.assertEqual((await self.answered(body, JSON).get(model=model)).data, expected)
        found = (await self.answered(b'{"id": 1, "name": "n"}', JSON).get(model=ZatoCustomer)).data
        self.assertEqual((type(found), found.id, found.name), (ZatoCustomer, 1, 'n'))

    async def test_models_that_do_not_fit(self) -> None:
        """BadGateway says where; the answer itself is still there."""
        for body, model, said in (
            (b'{"id": "x"}', Customer, 'it does not fit Customer: $.id: expected int, got str'),
            (b'[{"id": 1}, {}]', list[Customer], 'object missing required field id'),
            (b'{"id": 1}', ZatoCustomer, 'it does not fit ZatoCustomer: $.name: missing'),
            (b'5', Customer, 'it does not fit Customer: $: expected object, got int'),
        ):  # fmt: skip
            response = await self.answered(body, JSON, status=b'200 OK').get(model=model)
            self.assertEqual(response.content, body)
            with self.assertRaises(BadGateway) as caught:
                self.assertIsNone(response.data)
            self.assertIn(said, caught.exception.msg)

    async def test_packed(self) -> None:
        """Answers are asked for packed, and given unpacked."""
        response = await self.answered(gzip.compress(b'{"a": 1}'), JSON, b'Content-Encoding: gzip').get()
        self.assertEqual((response.data, response.content), ({'a': 1}, b'{"a": 1}'))
        self.assertNotIn('Content-Encoding', response.headers)
        await self.crm(self.peer).get()
        self.assertEqual(self.last.headers[b'accept-encoding'], b'gzip, deflate')

    async def test_redirections(self) -> None:
        """Are followed, unless the connection says that it is no matter of its own."""

        def answer(peer: Peer, request: Request) -> None:
            ends = request.target == b'/end'
            says(*((b'200 OK', b'there') if ends else (b'302 Found', b'', b'Location: /end')))(peer, request)

        peer = self.listen(answer)
        self.assertEqual((await self.crm(peer).get()).text, 'there')
        response = await self.crm(peer, follow_redirects=False).get()
        self.assertEqual((response.status_code, response.headers['location']), (302, '/end'))
        elsewhere = self.listen(says(b'302 Found', b'', b'Location: http://127.0.0.1:%d/end' % peer.port))
        await self.fault(self.crm(elsewhere).get(), BadGateway)
        self.assertEqual((await self.crm(elsewhere, follow_redirects='any').get()).text, 'there')

    def test_which_redirections(self) -> None:
        """By a switch, as ever, or by a word."""
        for given, kept in ((True, True), ('same-origin', True), ('any', 'any'), (False, False), ('none', False)):
            value, wrong = validate(OUTGOING_REST, {'name': 'CRM', 'host': 'http://a', 'follow_redirects': given})
            self.assertEqual((value.follow_redirects, wrong), (kept, []))
        _, wrong = validate(OUTGOING_REST, {'name': 'CRM', 'host': 'http://a', 'follow_redirects': 'all'})
        self.assertEqual([path for path, _ in wrong], ['follow_redirects'])


class StreamTests(Calling):
    async def test_pieces(self) -> None:
        """`stream=True` gives the answer with its head; the body is read as it comes, and is no `content`."""
        peer = self.listen(raw(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n'))
        response = await self.crm(peer).get(stream=True)
        self.assertEqual(response.status_code, 200)
        self.assertRaises(TypeError, lambda: response.content)
        self.assertEqual(await anext(response), b'abc')
        reactor.callLater(0.05, peer.peers[0].say, b'2\r\nde\r\n0\r\n\r\n')
        self.assertEqual([piece async for piece in response], [b'de'])

    async def test_longer_than_any_answer_may_be(self) -> None:
        """What is streamed is not kept, so its length is no matter."""
        body = b'x' * 300_000
        rest = self.answered(body, max_response_size=1000)
        response = await rest.get(stream=True)
        self.assertEqual(sum([len(piece) async for piece in response]), len(body))
        await self.fault(rest.get(), BadGateway)

    async def test_closed(self) -> None:
        """Whoever has read enough closes it: its connection ends."""
        peer = self.listen(raw(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc'))
        response = await self.crm(peer).get(stream=True)
        await response.aclose()
        await self.until(lambda: not peer.peers)

    async def test_patience(self) -> None:
        """The call's own timeout, where it has one, bounds the pauses between pieces too, and its fault says so."""
        peer = self.listen(raw(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc'))
        response = await self.crm(peer, timeout=60).get(stream=True, timeout=1)
        self.assertEqual(await anext(response), b'abc')
        fault = await self.fault(anext(response), Timeout)
        self.assertEqual(fault.msg, 'Outgoing connection CRM (rest) gave no answer within 1 s')

    async def test_forgotten(self) -> None:
        """One that nobody can reach any more is closed by itself."""
        peer = self.listen(raw(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc'))
        response = await self.crm(peer).get(stream=True)
        self.assertEqual(len(peer.peers), 1)
        del response
        await self.until(lambda: not peer.peers)

    async def test_broken_off(self) -> None:
        """A body that ends before its time is a fault that names the connection, where it is read."""

        def answer(peer: Peer, request: Request) -> None:
            peer.say(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc')
            peer.close()

        response = await self.crm(self.listen(answer)).get(stream=True)
        read: list[bytes] = []

        async def everything() -> None:
            async for piece in response:
                read.append(piece)

        fault = await self.fault(everything(), Exception)
        self.assertEqual(read, [b'abc'])
        self.assertIn('Outgoing connection CRM (rest)', str(fault))

    async def test_not_by_for(self) -> None:
        """On the reactor nothing can be waited for by `for`, which is said."""
        response = await self.answered(b'abc').get(stream=True)
        self.assertIn('async for', str(self.assertRaises(TypeError, next, iter(response))))
        response.close()


class ZatoTests(Calling):
    async def test_calls(self) -> None:
        """`conn.get(self.cid, params)`, `conn.post(self.cid, data, params, headers=…)` and all the others of Zato, by
        both of its ways to a connection; the cid that is given goes out."""
        node = self.node(stored(crm(self.peer, url_path='/customers/{id}', data_format='json')))
        plain_http: Callable[[Asking], RestNamespace] = node.namespaces['plain_http']
        for connection in (plain_http(Asking())['CRM'], plain_http(Asking()).get('CRM')):
            conn = connection.conn
            for method in ('get', 'delete', 'options'):
                response = await getattr(conn, method)('K1', {'id': 5, 'q': 1}, headers={'X-A': 'b'})
                self.assertEqual((self.last.method, self.last.target), (method.upper().encode(), b'/customers/5?q=1'))
                self.assertEqual((self.last.headers[b'x-a'], self.last.headers[b'x-zato-cid']), (b'b', b'K1'))
                self.assertEqual((response.status_code, response.data), (200, {'id': 1}))
            for method in ('post', 'put', 'patch', 'send'):
                await getattr(conn, method)('K2', {'a': 1}, {'id': 5}, headers={'X-A': 'b'})
                expected = b'POST' if method == 'send' else method.upper().encode()
                self.assertEqual((self.last.method, self.last.body), (expected, b'{"a":1}'))
                self.assertEqual((self.last.headers[b'x-zato-cid'], self.last.target), (b'K2', b'/customers/5'))
            await conn.post('K3', params={'id': 5})
            self.assertEqual(self.last.body, b'')
            await conn.post('K3', data='text', params={'id': 5})
            self.assertEqual(self.last.body, b'text')

    async def test_ping(self) -> None:
        """HEAD unless it is said otherwise, of the part of the path that is always there; what it says is Zato's."""
        rest = self.crm(self.listen(says(b'405 Method Not Allowed')), url_path='/customers/{id}')
        for said in (await rest.ping(), await rest.conn.ping(CID)):
            first, code, took = said.split('\n')
            self.assertRegex(first, r'^20\d\d-.* \(UTC\) HEAD http://127\.0\.0\.1:\d+/customers/$')
            self.assertEqual(code, 'Code: 405')
            self.assertRegex(took, r'^Response time: 0:00:\d\d\.\d+$')
        said = await self.crm(self.peer, ping_method='GET').ping()
        self.assertIn(' GET http://', said)
        self.assertEqual((self.last.method, self.last.target), (b'GET', b'/'))


class TreqTests(Calling):
    async def test_treq(self) -> None:
        """treq's API, whose URLs may leave out the host; fields of the connection go to its own host only."""
        rest = self.crm(self.peer)
        response = await rest.treq.get('/a', params={'b': 'c'})
        self.assertEqual((response.code, await treq.json_content(response)), (200, {'id': 1}))
        self.assertEqual((self.last.target, self.last.headers[b'x-zato-component']), (b'/a?b=c', COMPONENT.encode()))
        other = self.listen(says(b'200 OK', b'other'))
        response = await rest.treq.post(f'http://127.0.0.1:{other.port}/x', data=b'body')
        self.assertEqual((await treq.text_content(response), other.requests[0].body), ('other', b'body'))
        self.assertNotIn(b'x-zato-component', other.requests[0].headers)

    async def test_redirected(self) -> None:
        """treq follows by itself, yet no further than the connection's follow_redirects: what it is called with counts,
        and not what a peer says."""
        other = self.listen(says(b'200 OK', b'other'))
        here = self.listen(says(b'302 Found', b'', b'Location: http://127.0.0.1:%d/x' % other.port))
        failing: Any = self.crm(here).treq.get('/a')
        await self.assertFailure(failing, BadRedirect)
        self.assertEqual(other.requests, [])
        response = await self.crm(here, follow_redirects='any').treq.get('/a')
        self.assertEqual(await treq.text_content(response), 'other')
        self.assertNotIn(b'x-zato-component', other.requests[0].headers)

    async def test_through_a_proxy(self) -> None:
        """That the connection names: it hears the whole URL, and who we are."""
        rest = self.crm(self.peer, host='http://crm.invalid', proxy=f'http://u:p@127.0.0.1:{self.peer.port}')
        response = await rest.treq.get('/a')
        self.assertEqual(response.code, 200)
        self.assertEqual(self.last.target, b'http://crm.invalid/a')
        self.assertEqual(self.last.headers[b'proxy-authorization'], b'Basic dTpw')


class NamesTests(Calling):
    def test_unknown_and_inactive(self) -> None:
        """Asking for it names it."""
        node = self.node(stored(crm(self.peer, is_active=False)))
        for name in ('rest', 'plain_http'):
            door: Any = node.namespaces[name](Asking())
            for ask in (door.__getitem__, door.get):
                self.assertEqual(self.assertRaises(Inactive, ask, 'CRM').msg, '[CRM] is inactive')
                fault = self.assertRaises(NotFound, ask, 'Nope')
                self.assertEqual((fault.msg, fault.cid), ("There is no outgoing connection 'Nope' of kind rest", CID))

    async def test_json_as_it_is_read(self) -> None:
        """What goes out is what json reads back."""
        await self.crm(self.peer).post({'a': {'b': [1.5, 'x']}})
        self.assertEqual(json.loads(self.last.body), {'a': {'b': [1.5, 'x']}})
