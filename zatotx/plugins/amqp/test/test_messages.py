"""Properties, headers and bodies of AMQP messages, and what is stored of those with guaranteed delivery."""

from __future__ import annotations

import gzip
import zlib
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from pika import BasicProperties
from twisted.trial.unittest import SynchronousTestCase

from zatotx.connectors.guaranteed_delivery import StoredCall
from zatotx.plugins.amqp.body_codec import BYTES, JSON, TEXT, InvalidBody, decode_body, encode_body
from zatotx.plugins.amqp.message_properties import (
    InvalidProperties,
    MessageHeaders,
    delivery_count,
    header_text,
    merge_fields,
)
from zatotx.plugins.amqp.schema.outgoing_amqp import AmqpOutgoing
from zatotx.plugins.amqp.stored_messages import prepare_stored
from zatotx.plugins.amqp.wire import encode_properties, encode_table


class Order(msgspec.Struct):
    id: int


class FieldsTests(SynchronousTestCase):
    def test_precedence(self) -> None:
        """A call's properties win over the connection's; None leaves one out; headers are merged."""
        fields = merge_fields({'priority': 5, 'app_id': 'a'}, {'priority': 9, 'app_id': None, 'headers': {'x': 1}},
                              {'y': 2})  # fmt: skip
        self.assertEqual(fields, {'priority': 9, 'headers': {'x': 1, 'y': 2}})

    def test_conversions(self) -> None:
        """Milliseconds and times are converted to AMQP's form."""
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        fields = merge_fields({'expiration': 1500}, {'timestamp': moment}, None)
        self.assertEqual((fields['expiration'], fields['timestamp']), ('1500', int(moment.timestamp())))

    def test_errors(self) -> None:
        """All wrong properties and headers are named at once."""
        wrong: dict[str, Any] = {'colour': 'red', 'priority': 256, 'delivery_mode': True, 'message_id': 7,
                                 'type': 'x' * 256, 'expiration': 'soon'}  # fmt: skip
        headers: dict[Any, Any] = {'cc': 'a', 'a': {1, 2}, 'b': 2**64, 3: 'x', 'c': [{'d': object()}]}
        with self.assertRaises(InvalidProperties) as caught:
            merge_fields({}, wrong, headers)
        for name in ('colour', 'priority', 'delivery_mode', 'message_id', 'type', 'expiration', 'headers.cc',
                     'headers.a', 'headers.b', '3 is not a name', 'headers.c', 'headers.d'):
            self.assertIn(name, str(caught.exception))
        with self.assertRaises(InvalidProperties):
            merge_fields({}, None, 'x')  # type: ignore[arg-type]

    def test_nesting(self) -> None:
        """Headers that are nested too deep are an error, not an exhausted stack."""
        deep: Any = 'x'
        for _ in range(5000):
            deep = [deep]
        with self.assertRaises(InvalidProperties) as caught:
            merge_fields({}, None, {'x': deep})
        self.assertIn('nested', str(caught.exception))

    def test_what_amqp_can_transport(self) -> None:
        """Every value that is accepted can be encoded."""
        headers = {'a': None, 'b': True, 'd': Decimal('-1.5'), 'e': datetime(2026, 1, 1, tzinfo=UTC), 'f': b'x',
                   'g': [1, 'x'], 'h': {'i': -(2**31)}, 'CC': ['x']}  # fmt: skip
        encoded = encode_properties(merge_fields({'priority': 3}, {'message_id': 'ž'}, headers))
        decoded = BasicProperties()
        decoded.decode(encoded)
        self.assertEqual((decoded.headers, decoded.priority, decoded.message_id), (headers, 3, 'ž'))
        self.assertEqual(encode_table({'x': 1.5, 'y': -(2**63)}),  # pika decodes these as numbers of its own
                         bytes.fromhex('00000016 0178 64 3ff8000000000000 0179 6c 8000000000000000'))  # fmt: skip
        for wrong in (Decimal('NaN'), Decimal(2**31), {1}):
            with self.assertRaises(ValueError):
                encode_table({'x': wrong})


class HeadersTests(SynchronousTestCase):
    def test_names_and_values(self) -> None:
        """Headers and properties by lower-case names, values as text; properties win."""
        headers = {'X-Count': 3, 'List': [1, 'a'], 'Raw': b'\xff', 'When': datetime(2026, 1, 1),
                   'message-id': 'forged', 'N': None}  # fmt: skip
        properties = BasicProperties(headers=headers, message_id='m', priority=4)
        found = MessageHeaders(properties, 'e', 'k', redelivered=True)
        self.assertEqual(
            dict(found),
            {b'x-count': b'3', b'list': b'[1,"a"]', b'raw': b'\xff', b'when': b'2026-01-01T00:00:00Z',
             b'message-id': b'm', b'n': b'null', b'priority': b'4', b'x-amqp-exchange': b'e',
             b'x-amqp-routing-key': b'k', b'x-amqp-redelivered': b'true'},
        )  # fmt: skip
        self.assertEqual((len(found), found[b'priority']), (10, b'4'))

    def test_header_text(self) -> None:
        """A header is found as it was sent and in lower case."""
        properties: Any = BasicProperties(headers={'X-Zato-CID': 'a', 'traceparent': 'b'})
        self.assertEqual([header_text(properties, name) for name in ('X-Zato-CID', 'Traceparent', 'other')],
                         ['a', 'b', ''])  # fmt: skip
        self.assertEqual(header_text(BasicProperties(), 'x'), '')

    def test_delivery_count(self) -> None:
        """The count of quorum queues; anything else is 0."""
        for headers, count in (({'x-delivery-count': 3}, 3), ({'x-delivery-count': 'x'}, 0), (None, 0)):
            properties: Any = BasicProperties(headers=headers)
            self.assertEqual(delivery_count(properties), count)


class BodyTests(SynchronousTestCase):
    def test_encode(self) -> None:
        """Bytes as they are, text as UTF-8, models as JSON; gzip does not touch bytes."""
        self.assertEqual(encode_body(b'x', 'gzip'), (b'x', BYTES))
        self.assertEqual(encode_body('ž', ''), ('ž'.encode(), TEXT))
        self.assertEqual(encode_body(Order(1), ''), (b'{"id":1}', JSON))
        self.assertEqual(gzip.decompress(encode_body('x', 'GZIP')[0]), b'x')
        with self.assertRaises(InvalidBody):
            encode_body(object(), '')

    def test_decode(self) -> None:
        """gzip and deflate are decoded, others are errors, and nothing grows beyond the limit."""
        self.assertEqual(decode_body(b'x', None, 10), b'x')
        self.assertEqual(decode_body(gzip.compress(b'x'), ' Gzip ', 10), b'x')
        self.assertEqual(decode_body(zlib.compress(b'x'), 'deflate', 10), b'x')
        for body, encoding, part in ((b'x', 'br', 'br'), (b'no gzip', 'gzip', 'not gzip'),
                                     (gzip.compress(b'x' * 100), 'gzip', 'more than 10'),
                                     (gzip.compress(b'x')[:-4], 'gzip', 'cut off')):
            with self.assertRaises(InvalidBody) as caught:
                decode_body(body, encoding, 10)
            self.assertIn(part, str(caught.exception))


class StoredMessagesTests(SynchronousTestCase):
    def prepared(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """The arguments that are stored."""
        value = AmqpOutgoing(name='out', definition='rabbit')
        return prepare_stored(value, StoredCall(method=method, args=args, kwargs=kwargs), 'id-1').kwargs

    def test_send(self) -> None:
        """The body as bytes with its content type, and a message id that does not change with each attempt."""
        self.assertEqual(self.prepared('send', Order(1), None, 'k', headers={'a': 'b'}), {
            'msg': b'{"id":1}', 'exchange': None, 'routing_key': 'k', 'headers': {'a': 'b'},
            'properties': {'content_type': JSON, 'message_id': 'id-1'},
        })  # fmt: skip

    def test_send_many(self) -> None:
        """Models become what JSON has."""
        self.assertEqual(self.prepared('send_many', [Order(1), 'x', b'y'])['messages'], [{'id': 1}, 'x', b'y'])

    def test_errors(self) -> None:
        """Wrong calls are told when they are stored, not hours later."""
        for args, kwargs in (((), {}), (('a',) * 6, {}), (('a',), {'msg': 'b'}), (('a',), {'properties': {'x': 1}})):
            with self.assertRaises((TypeError, ValueError)):
                self.prepared('send', *args, **kwargs)
