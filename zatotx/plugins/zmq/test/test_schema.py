"""What configurations of the kind may say, and the sentences about what they may not."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zatotx.plugins.zmq.addresses import address_error, decode_key, key_error, parse_addresses
from zatotx.plugins.zmq.schema import OBJECT_TYPES, ZmqChannel, ZmqOutgoing
from zatotx.schema.delivery import Idempotency

CHANNEL, OUTGOING = OBJECT_TYPES
# The vector of ZeroMQ RFC 32 for Z85 has 8 bytes; these are four times as many.
BYTES, KEY = bytes.fromhex('864fd26fb559f75b') * 4, 'HelloWorld' * 4


class AddressTests(SynchronousTestCase):
    def test_good(self) -> None:
        """TCP with names, addresses of both families and interfaces, and files; one or several."""
        for text in ('tcp://127.0.0.1:5555', 'tcp://localhost:1', 'tcp://[::1]:65535', 'tcp://*:5555', 'ipc:///tmp/x',
                     'ipc://@abstract', 'tcp://a.example:1,tcp://b-1.example:2'):
            self.assertEqual(address_error(text), '', text)
        self.assertEqual(parse_addresses('tcp://a:1, tcp://b:2\nipc:///c'), ('tcp://a:1', 'tcp://b:2', 'ipc:///c'))

    def test_bad(self) -> None:
        """Each wrong address is named."""
        for text, expected in (
            ('', 'must have an address'),
            ('127.0.0.1:5555', '127.0.0.1:5555 must have the form tcp://HOST:PORT or ipc:///PATH'),
            ('tcp://a', 'tcp://a must have the form'),
            ('tcp://a:0', 'tcp://a:0 must have a port from 1 to 65535'),
            ('tcp://a:1, inproc://x, tcp://b:99999', 'inproc://x must have the form tcp://HOST:PORT or ipc:///PATH; '
                                                     'tcp://b:99999 must have a port'),
            ('tcp://a:1 tcp://a:1', 'must not have an address twice'),
            (f'ipc:///{"x" * 107}', 'has a path of more than 107 bytes'),
        ):
            self.assertIn(expected, address_error(text))

    def test_keys(self) -> None:
        """Keys are Z85 of 32 bytes; errors do not show them."""
        self.assertEqual(decode_key(KEY), BYTES)
        self.assertEqual(key_error(KEY), '')
        for wrong, expected in ((KEY[:-1], 'of 40 characters'), ('"' * 40, 'has a character'), ('#' * 40, 'no valid')):
            error = key_error(wrong)
            self.assertIn(expected, error)
            self.assertNotIn(wrong, error)

    @given(st.binary(min_size=32, max_size=32))
    def test_every_key(self, key: bytes) -> None:
        """What ZeroMQ encodes is decoded to the same bytes."""
        from zmq.utils import z85

        self.assertEqual(decode_key(z85.encode(key).decode()), key)

    @given(st.text(max_size=60))
    def test_any_text(self, text: str) -> None:
        """Any text has an error or is usable, and none raises."""
        address_error(text)
        key_error(text)


class ValidationTests(SynchronousTestCase):
    def errors(self, struct: type[Any], **fields: Any) -> dict[str, str]:
        object_type = CHANNEL if struct is ZmqChannel else OUTGOING
        common = {'name': 'x', 'address': 'tcp://127.0.0.1:5555'}
        if struct is ZmqChannel:
            common['service'] = 'x'
        assert object_type.validate is not None
        return dict(object_type.validate(struct(**{**common, **fields})))

    def test_wildcards(self) -> None:
        """Nobody can connect to all interfaces."""
        self.assertIn('address', self.errors(ZmqChannel, address='tcp://*:1'))
        self.assertEqual(self.errors(ZmqChannel, address='tcp://*:1', socket_method='bind'), {})

    def test_channel(self) -> None:
        """Fields that do not go together are all reported."""
        found = self.errors(ZmqChannel, sub_key='a', sub_keys=['b'], multipart='list', data_format='json')
        self.assertEqual(set(found), {'sub_key', 'sub_keys', 'multipart'})
        self.assertEqual(self.errors(ZmqChannel, socket_type='SUB', sub_key='a', sub_keys=['b']), {})
        self.assertEqual(set(self.errors(ZmqChannel, idempotent=Idempotency())), {'idempotent.key'})
        self.assertEqual(self.errors(ZmqChannel, idempotent=Idempotency(key='body')), {})

    def test_curve(self) -> None:
        """A side of CURVE has its own key, and either knows the server or its clients."""
        for fields, wrong in (
            ({'curve_secret_key': KEY}, {'curve_secret_key'}),
            ({'curve_server_key': KEY}, {'curve_secret_key'}),
            ({'curve_client_keys': [KEY]}, {'curve_secret_key'}),
            ({'curve_secret_key': KEY, 'curve_client_keys': [KEY, 'x']}, {'curve_client_keys[1]'}),
            ({'curve_secret_key': KEY, 'curve_server_key': KEY, 'curve_any_client': True}, {'curve_server_key'}),
            ({'curve_secret_key': KEY, 'curve_client_keys': [KEY], 'curve_any_client': True}, {'curve_any_client'}),
            ({'curve_secret_key': KEY, 'curve_server_key': KEY}, set()),
            ({'curve_secret_key': KEY, 'curve_any_client': True}, set()),
        ):
            for struct in (ZmqChannel, ZmqOutgoing):
                self.assertEqual(set(self.errors(struct, **fields)), wrong)

    def test_guaranteed(self) -> None:
        """Guaranteed delivery is for socket types that wait for a peer."""
        found = {each: set(self.errors(ZmqOutgoing, socket_type=each, delivery='guaranteed'))
                 for each in ('PUSH', 'REQ', 'DEALER', 'PUB')}  # fmt: skip
        self.assertEqual(found, {'PUSH': set(), 'REQ': set(), 'DEALER': set(), 'PUB': {'delivery'}})

    def test_lists(self) -> None:
        """Lists of addresses and prefixes are accepted."""
        assert CHANNEL.normalize is not None
        given = {'address': ['tcp://a:1', 'tcp://b:2'], 'sub_key': ['a', 'b'], 'sub_keys': ['c']}
        self.assertEqual(CHANNEL.normalize(given), {'address': 'tcp://a:1, tcp://b:2', 'sub_key': '',
                                                    'sub_keys': ['a', 'b', 'c']})  # fmt: skip

    def test_secret(self) -> None:
        """The secret key is in no repr."""
        self.assertNotIn(KEY, repr(ZmqOutgoing(name='x', address='tcp://a:1', curve_secret_key=KEY)))
        self.assertEqual(msgspec.structs.asdict(ZmqOutgoing(name='x', address='tcp://a:1'))['curve_secret_key'], '')
