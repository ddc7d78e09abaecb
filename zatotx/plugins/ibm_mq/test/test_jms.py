"""JMS messages: fields of the descriptor and folders both ways, text of any CCSID, and messages that cannot be read."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from zatotx.plugins.ibm_mq.wire.ccsid import encode_text
from zatotx.plugins.ibm_mq.wire.descriptor import (
    DATAGRAM,
    NO_ID,
    PASS_CORREL_ID,
    PASS_MSG_ID,
    REQUEST,
    MessageDescriptor,
    put_milliseconds,
    reply_descriptor,
)
from zatotx.plugins.ibm_mq.wire.jms import (
    InvalidMessage,
    MessageToSend,
    decode_message,
    encode_message,
    parse_queue,
)
from zatotx.plugins.ibm_mq.wire.mqrfh2 import Folder, Header, decode_header, encode_header

NOW = 1_700_000_000_123
ID = bytes(range(24))


class ReceivedTests(SynchronousTestCase):
    """What a service gets."""

    def test_text_of_any_ccsid_becomes_utf_8(self) -> None:
        """Text is converted by the CCSID of the message, in either byte order."""
        for ccsid, encoding in ((1208, 546), (819, 546), (500, 785), (1047, 785), (1200, 273), (1200, 546),
                                (1252, 546)):
            descriptor = MessageDescriptor(format='MQSTR', ccsid=ccsid, encoding=encoding)
            found = decode_message(descriptor, encode_text('Zażółć' if ccsid in (1208, 1200) else 'Grüße [1]^', ccsid,
                                                           encoding), use_jms=True)  # fmt: skip
            self.assertEqual(found.body.decode(), 'Zażółć' if ccsid in (1208, 1200) else 'Grüße [1]^')
            self.assertTrue(found.is_text)

    def test_open_systems_ebcdic(self) -> None:
        """CCSID 1047 has brackets, circumflex and negation where z/OS UNIX has them."""
        self.assertEqual(encode_text('[]^¬Ý¨', 1047, 785), bytes.fromhex('adbd5fb0babb'))

    def test_bytes_stay_as_they_are(self) -> None:
        """Data without a text format is not converted."""
        found = decode_message(MessageDescriptor(ccsid=500), b'\xff\0', use_jms=True)
        self.assertEqual((found.body, found.is_text), (b'\xff\0', False))

    def test_headers(self) -> None:
        """The fields of the descriptor and of the folders, under the names of JMS."""
        header = Header(format='MQSTR', folders=[
            Folder(name='mcd', values={'Msd': 'jms_text', 'Type': 'order'}),
            Folder(name='jms', values={'Dst': 'queue:///IN', 'Rto': 'queue://QM2/BACK', 'Tms': '5', 'Exp': '9',
                                       'Cid': 'c-1', 'Gid': 'g', 'Seq': 3}),
            Folder(name='usr', values={'color': 'red', 'size': 3, 'fresh': True, 'none': None}),
        ])  # fmt: skip
        descriptor = MessageDescriptor(format='MQHRF2', message_id=ID, backout_count=2, priority=7, user='app',
                                       message_type=DATAGRAM)  # fmt: skip
        found = decode_message(descriptor, encode_header(header) + b'abc', use_jms=True)
        self.assertEqual(found.body, b'abc')
        expected = {
            'JMSMessageID': 'ID:' + ID.hex(), 'JMSCorrelationID': 'c-1', 'JMSDestination': 'queue:///IN',
            'JMSReplyTo': 'queue://QM2/BACK', 'JMSDeliveryMode': '2', 'JMSPriority': '7', 'JMSTimestamp': '5',
            'JMSExpiration': '9', 'JMSRedelivered': 'true', 'JMSType': 'order', 'JMSXDeliveryCount': '3',
            'JMSXUserID': 'app', 'JMSXGroupID': 'g', 'JMSXGroupSeq': '3', 'JMS_IBM_Format': 'MQSTR', 'color': 'red',
            'size': '3', 'fresh': 'true', 'none': '',
        }  # fmt: skip
        self.assertEqual({**found.headers, **expected}, found.headers)

    def test_without_folders(self) -> None:
        """What JMS calls reply-to, timestamp and correlation id comes from the descriptor where there is no header."""
        descriptor = MessageDescriptor(
            format='MQSTR', reply_to_queue='BACK', reply_to_queue_manager='QM2', put_date='20231114',
            put_time='22132012', correlation_id=b'order-1'.ljust(24, b'\0'), persistence=0,
        )  # fmt: skip
        headers = decode_message(descriptor, b'', use_jms=True).headers
        self.assertEqual((headers['JMSReplyTo'], headers['JMSTimestamp'], headers['JMSCorrelationID'],
                          headers['JMSDeliveryMode']), ('queue://QM2/BACK', '1700000000120', 'order-1', '1'))
        self.assertEqual(put_milliseconds(MessageDescriptor()), 0)

    def test_use_jms_off(self) -> None:
        """Headers are part of the body then."""
        data = encode_header(Header(format='MQSTR')) + b'abc'
        found = decode_message(MessageDescriptor(format='MQHRF2'), data, use_jms=False)
        self.assertEqual((found.body, found.is_text), (data, False))

    def test_message_body_wins_over_the_format(self) -> None:
        """jms_bytes says that the data is no text, whatever its format."""
        header = Header(format='MQSTR', folders=[Folder(name='mcd', values={'Msd': 'jms_bytes'})])
        found = decode_message(MessageDescriptor(format='MQHRF2'), encode_header(header) + b'\xff', use_jms=True)
        self.assertEqual((found.body, found.is_text), (b'\xff', False))

    def test_messages_that_cannot_be_read(self) -> None:
        """A header that is half-written, text that is not of its CCSID, an unknown CCSID, too many headers."""
        jms = MessageDescriptor(format='MQHRF2')
        endless = encode_header(Header(format='MQHRF2')) * 9
        for descriptor, data, text in (
            (jms, encode_header(Header())[:30], 'ends within its MQRFH2 header'),
            (jms, endless, 'more than 8 MQRFH2 headers'),
            (MessageDescriptor(format='MQSTR', ccsid=1208), b'ab\xff', 'is no text of CCSID 1208: byte 2'),
            (MessageDescriptor(format='MQSTR', ccsid=4711), b'ab', 'has CCSID 4711, which is not known'),
        ):
            error = self.assertRaises(InvalidMessage, decode_message, descriptor, data, use_jms=True)
            self.assertIn(text, str(error))


class SentTests(SynchronousTestCase):
    """What a service sends."""

    def sent(self, *, use_jms: bool = True, needs_mcd: bool = False, **fields: Any) -> tuple[MessageDescriptor, bytes]:
        message = MessageToSend(**{'body': 'abc', 'queue': 'OUT', **fields})
        return encode_message(message, use_jms=use_jms, needs_mcd=needs_mcd, now=NOW)

    def test_fields(self) -> None:
        """Delivery mode, priority, expiration, reply-to and correlation id are in the descriptor and in the folders."""
        descriptor, data = self.sent(delivery_mode=1, priority=3, expiration=1500, reply_to='queue://QM2/BACK',
                                     correlation_id='c-1', properties={'n': 1}, needs_mcd=True)  # fmt: skip
        self.assertEqual(descriptor, MessageDescriptor(
            message_type=REQUEST, expiry=15, format='MQHRF2', priority=3, persistence=0,
            correlation_id=b'c-1'.ljust(24, b'\0'), reply_to_queue='BACK', reply_to_queue_manager='QM2',
        ))  # fmt: skip
        header, rest = decode_header(data, descriptor.encoding, descriptor.ccsid)
        self.assertEqual((header.format, rest), ('MQSTR', b'abc'))
        self.assertEqual(header.folder('mcd'), {'Msd': 'jms_text'})
        self.assertEqual(header.folder('jms'), {
            'Dst': 'queue:///OUT', 'Rto': 'queue://QM2/BACK', 'Tms': str(NOW), 'Exp': str(NOW + 1500), 'Cid': 'c-1',
            'Pri': '3', 'Dlv': '1',
        })  # fmt: skip
        self.assertEqual(header.folder('usr'), {'n': 1})

    def test_without_mcd(self) -> None:
        """The mcd folder is sent to those who ask for it only."""
        _, data = self.sent()
        self.assertNotIn(b'<mcd>', data)

    def test_plain(self) -> None:
        """Without use_jms the data is the body alone, in the CCSID of the connection."""
        descriptor, data = self.sent(use_jms=False, body='é', ccsid=819)
        self.assertEqual((descriptor.format, descriptor.ccsid, data), ('MQSTR', 819, b'\xe9'))
        descriptor, data = self.sent(use_jms=False, body=b'\0')
        self.assertEqual((descriptor.format, data), ('', b'\0'))

    def test_binary_correlation_id(self) -> None:
        """The identifier of another message is sent as it is, and is no text in the folder."""
        descriptor, data = self.sent(correlation_id=f'ID:{ID.hex()}')
        self.assertEqual(descriptor.correlation_id, ID)
        self.assertNotIn(b'<Cid>', data)

    def test_messages_that_cannot_be_sent(self) -> None:
        """Text that the CCSID does not have, properties without a header, wrong names of queues."""
        wrong: list[tuple[dict[str, Any], str]] = [
            ({'body': '€', 'ccsid': 819}, "has characters that CCSID 819 does not have: '€'"),
            ({'properties': {'a': 1}, 'use_jms': False}, 'cannot have properties'),
            ({'properties': {'a b': 1}}, "cannot have a property named 'a b'"),
            ({'reply_to': 'topic://x'}, 'no queue'),
            ({'queue': 'X' * 49}, 'cannot exist'),
        ]
        for fields, text in wrong:
            error = self.assertRaises(InvalidMessage, self.sent, **fields)
            self.assertIn(text, str(error))

    def test_queue_names(self) -> None:
        """A name, a URI with or without queue manager, parameters left out."""
        for text, expected in (('Q', ('Q', '')), ('queue:///Q', ('Q', '')), ('queue://QM/Q?persistence=1', ('Q', 'QM')),
                               ('queue:///A%2FB', ('A/B', '')), ('', ('', ''))):
            self.assertEqual(parse_queue(text), expected)


class ReplyTests(SynchronousTestCase):
    """The descriptor of a reply."""

    def test_identifiers(self) -> None:
        """The report options say which identifiers the reply has; usually the correlation id is the request's id."""
        request = MessageDescriptor(message_type=REQUEST, message_id=ID, correlation_id=ID[::-1], persistence=0,
                                    priority=8)  # fmt: skip
        reply = reply_descriptor(request, ccsid=1208, format='MQSTR')
        self.assertEqual((reply.message_id, reply.correlation_id, reply.persistence, reply.priority), (NO_ID, ID, 0, 8))
        request = MessageDescriptor(message_id=ID, correlation_id=ID[::-1], report=PASS_MSG_ID | PASS_CORREL_ID)
        reply = reply_descriptor(request, ccsid=1208, format='MQSTR')
        self.assertEqual((reply.message_id, reply.correlation_id), (ID, ID[::-1]))
