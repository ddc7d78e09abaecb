"""Round trips of IBM MQ's MQRFH2 headers and JMS messages, and bytes of any sort where a header should be."""

from __future__ import annotations

from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zatotx.plugins.ibm_mq.wire.ccsid import UTF_8
from zatotx.plugins.ibm_mq.wire.descriptor import MessageDescriptor
from zatotx.plugins.ibm_mq.wire.jms import InvalidMessage, MessageToSend, decode_message, encode_message, value_text
from zatotx.plugins.ibm_mq.wire.mqrfh2 import Folder, Header, InvalidHeader, decode_header, encode_header

_ENCODINGS = st.sampled_from([273, 546, 785])
_CHARACTERS = st.characters(exclude_categories=['Cs', 'Cc'], exclude_characters='\ufffe\uffff')
_TEXTS = st.text(_CHARACTERS | st.sampled_from('\t\n\r&<>"\''), max_size=40)
_NAMES = st.from_regex(r'[A-Za-z_][A-Za-z0-9_$]{0,12}', fullmatch=True)
_VALUES = st.one_of(_TEXTS, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.binary(max_size=20), st.none(),
                    st.floats(allow_nan=False, allow_infinity=False))  # fmt: skip
_FOLDERS = st.lists(st.builds(Folder, name=_NAMES, values=st.dictionaries(_NAMES, _VALUES, max_size=5)), max_size=4)


class HeaderProperties(SynchronousTestCase):
    @given(_FOLDERS, _ENCODINGS, st.sampled_from([1200, 1208, 13488, 17584]),
           st.sampled_from([37, 500, 819, 1047, 1208]), st.integers(0, 2**31 - 1), st.binary(max_size=20))  # fmt: skip
    def test_headers_come_back(self, folders: list[Folder], encoding: int, name_value_ccsid: int, ccsid: int,
                               flags: int, data: bytes) -> None:  # fmt: skip
        """Whatever the byte order, the character sets and the types of values, a header is what was encoded, its length
        is a multiple of four, and the data behind it is untouched."""
        header = Header(folders=folders, encoding=encoding, ccsid=ccsid, format='MQSTR', flags=flags,
                        name_value_ccsid=name_value_ccsid)  # fmt: skip
        encoded = encode_header(header, encoding, ccsid)
        self.assertEqual(len(encoded) % 4, 0)
        self.assertEqual(decode_header(encoded + data, encoding, ccsid), (header, data))

    @given(st.binary(max_size=200), _ENCODINGS, st.sampled_from([37, 819, 1200, 1208, 4711]), st.booleans())
    def test_any_bytes(self, data: bytes, encoding: int, ccsid: int, has_head: bool) -> None:
        """Bytes are a header or are refused with a sentence; nothing else happens."""
        if has_head:
            data = encode_header(Header(folders=[Folder(name='usr', values={'a': 'b'})]), encoding)[:40] + data
        try:
            _, rest = decode_header(data, encoding, ccsid)
        except InvalidHeader as error:
            self.assertTrue(str(error))
        else:
            self.assertTrue(data.endswith(rest))


class MessageProperties(SynchronousTestCase):
    @given(_TEXTS | st.binary(max_size=50), st.dictionaries(_NAMES, _VALUES, max_size=5), st.booleans(), st.booleans(),
           st.sampled_from([UTF_8, 1200, 819]))  # fmt: skip
    def test_messages_come_back(self, body: str | bytes, properties: dict[str, Any], use_jms: bool, needs_mcd: bool,
                                ccsid: int) -> None:  # fmt: skip
        """What a service sends is what another one gets: body, type and properties."""
        assume(not any(name.startswith('JMS') for name in properties))
        message = MessageToSend(body=body, queue='Q', properties=properties if use_jms else {}, ccsid=ccsid)
        try:
            descriptor, data = encode_message(message, use_jms=use_jms, needs_mcd=needs_mcd, now=1)
        except InvalidMessage as error:
            self.assertIn('has characters that CCSID 819 does not have', str(error))
            return
        found = decode_message(descriptor, data, use_jms=use_jms)
        self.assertEqual((found.body, found.is_text), (body.encode() if isinstance(body, str) else body,
                                                       isinstance(body, str)))  # fmt: skip
        if use_jms:
            for name, value in properties.items():
                self.assertEqual(found.headers[name], value_text(value))

    @given(st.binary(max_size=100), _ENCODINGS, st.sampled_from([0, 37, 1200, 1208, 4711]), st.booleans())
    def test_any_bytes(self, data: bytes, encoding: int, ccsid: int, is_text: bool) -> None:
        """A message of any bytes is read, or refused with a sentence."""
        descriptor = MessageDescriptor(format='MQSTR' if is_text else 'MQHRF2', encoding=encoding, ccsid=ccsid)
        try:
            decode_message(descriptor, data, use_jms=True)
        except InvalidMessage as error:
            self.assertTrue(str(error))
