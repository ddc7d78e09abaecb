"""The MQRFH2 header: vectors written by hand from IBM's published layout, and bytes that are no header."""

from __future__ import annotations

import struct
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from zatotx.plugins.ibm_mq.wire.mqrfh2 import (
    NATIVE,
    Folder,
    Header,
    InvalidHeader,
    decode_header,
    encode_header,
    parse_folder,
)

BIG, LITTLE = 273, 546  # MQENC_NATIVE of z/OS and AIX, of x86
_BIG_ENDIAN = bytes.fromhex(
    '52464820'  # StrucId 'RFH '
    '00000002'  # Version
    '00000048'  # StrucLength: 36 + 4 + 32 = 72
    '00000111'  # Encoding of the data: 273
    '000004b8'  # CodedCharSetId of the data: 1208
    '4d51535452202020'  # Format of the data: 'MQSTR   '
    '00000000'  # Flags
    '000004b8'  # NameValueCCSID: 1208
    '00000020'  # NameValueLength: 32
) + b'<mcd><Msd>jms_text</Msd></mcd>  '
_LITTLE_ENDIAN = (
    b'RFH ' + bytes.fromhex('02000000' '48000000' '22020000' 'b8040000') + b'MQSTR   '
    + bytes.fromhex('00000000' 'b8040000' '20000000') + b'<mcd><Msd>jms_text</Msd></mcd>  '
)  # fmt: skip
_MCD = Folder(name='mcd', values={'Msd': 'jms_text'})


class VectorTests(SynchronousTestCase):
    """Bytes and the headers that they stand for."""

    def test_big_endian(self) -> None:
        """A header of a big-endian machine, with the data behind it."""
        header, rest = decode_header(_BIG_ENDIAN + b'data', BIG, 1208)
        self.assertEqual(header, Header(folders=[_MCD], encoding=BIG, format='MQSTR'))
        self.assertEqual(rest, b'data')
        self.assertEqual(encode_header(header, BIG), _BIG_ENDIAN)

    def test_little_endian(self) -> None:
        """The same one of a little-endian machine."""
        header, rest = decode_header(_LITTLE_ENDIAN, LITTLE, 1208)
        self.assertEqual((header, rest), (Header(folders=[_MCD], encoding=LITTLE, format='MQSTR'), b''))
        self.assertEqual(encode_header(header, LITTLE), _LITTLE_ENDIAN)

    def test_ebcdic(self) -> None:
        """Eye catcher and format are in the character set of the descriptor, here EBCDIC of z/OS."""
        data = (bytes.fromhex('d9c6c840') + _BIG_ENDIAN[4:20] + bytes.fromhex('d4d8e2e3d9404040') + _BIG_ENDIAN[28:])
        header, _ = decode_header(data, 785, 500)
        self.assertEqual((header.format, header.folder('mcd')), ('MQSTR', {'Msd': 'jms_text'}))
        self.assertEqual(encode_header(header, 785, 500), data)

    def test_folders_in_utf_16(self) -> None:
        """NameValueCCSID 1200: the text of folders has two bytes a character, in the byte order of the header."""
        folder = '<usr><a>é</a></usr>'.encode('utf-16-be') + b'\0 '
        data = _BIG_ENDIAN[:8] + struct.pack('>i', 40 + len(folder)) + _BIG_ENDIAN[12:32]
        data += struct.pack('>ii', 1200, len(folder)) + folder
        header, _ = decode_header(data, BIG, 1208)
        self.assertEqual(header.folder('usr'), {'a': 'é'})
        self.assertEqual(encode_header(header, BIG), data)

    def test_types(self) -> None:
        """Each type of a property, as IBM's table of dt values has them."""
        text = ('<usr><t dt="boolean">1</t><f dt="boolean">0</f><x dt="bin.hex">00FF</x><b dt="i1">-1</b>'
                '<s dt="i2">2</s><i dt="i4">3</i><l dt="i8">4</l><n dt="int">5</n><r dt="r4">0.5</r>'
                '<d dt="r8">1.5e3</d><c dt="char">z</c><u dt="string">a</u><e></e><z xsi:nil="true"/></usr>')
        (folder,) = parse_folder(text)
        self.assertEqual(folder.values, {
            't': True, 'f': False, 'x': b'\0\xff', 'b': -1, 's': 2, 'i': 3, 'l': 4, 'n': 5, 'r': 0.5, 'd': 1500.0,
            'c': 'z', 'u': 'a', 'e': '', 'z': None,
        })  # fmt: skip

    def test_nested_elements_and_references(self) -> None:
        """Names of nested elements are joined by dots; references stand for characters; several folders may follow."""
        text = "<psc><Command>Reg&amp;Sub</Command></psc> <usr><a><b dt='i4'>7</b></a><c>&#x41;&lt;</c></usr>"
        (psc, usr) = parse_folder(text)
        self.assertEqual((psc.name, psc.values), ('psc', {'Command': 'Reg&Sub'}))
        self.assertEqual(usr.values, {'a.b': 7, 'c': 'A<'})

    def test_two_headers_of_one_folder(self) -> None:
        """Values of folders with the same name are taken together."""
        header = Header(folders=[Folder(name='usr', values={'a': 'x'}), Folder(name='usr', values={'b': 1})])
        found, _ = decode_header(encode_header(header), NATIVE, 1208)
        self.assertEqual(found.folder('usr'), {'a': 'x', 'b': 1})
        self.assertEqual(found.folder('jms'), {})


class InvalidHeaderTests(SynchronousTestCase):
    """What is no header is refused with a sentence."""

    def refused(self, data: bytes, text: str) -> None:
        error = self.assertRaises(InvalidHeader, decode_header, data, BIG, 1208)
        self.assertIn(text, str(error))

    def test_half_written(self) -> None:
        """A header that breaks off, wherever that is."""
        for length in range(36):
            self.refused(_BIG_ENDIAN[:length], 'ends within its MQRFH2 header')
        for length in range(36, len(_BIG_ENDIAN)):
            self.refused(_BIG_ENDIAN[:length], 'header of 72 bytes')

    def test_wrong_lengths(self) -> None:
        """A length that is negative, too small, too large or no multiple of four."""
        for length in (-4, 0, 32, 70, 2**31 - 4):
            self.refused(_BIG_ENDIAN[:8] + struct.pack('>i', length) + _BIG_ENDIAN[12:], 'has an MQRFH2 header of')
        for length in (-1, 33, 2**31 - 4):
            self.refused(_BIG_ENDIAN[:36] + struct.pack('>i', length) + _BIG_ENDIAN[40:], 'longer than the header')

    def test_no_header(self) -> None:
        """Other data under the format of a header, or a header of the other byte order."""
        self.refused(b'{"a": 1}'.ljust(80), 'has no MQRFH2 header')
        self.refused(_LITTLE_ENDIAN, 'has no MQRFH2 header')

    def test_malformed_folders(self) -> None:
        """Elements that do not end, cross each other, or are no elements; values that are not of their type."""
        for text in ('<usr>', '<usr><a>1</usr>', '<usr><a>1</b></usr>', 'usr', '<usr><a b=c>1</a></usr>', '</usr>',
                     '<usr><a>&nbsp;</a></usr>', '<usr><a>& b</a></usr>', '<usr><a dt="i4">x</a></usr>',
                     '<usr><a dt="boolean">2</a></usr>', '<usr><a dt="bin.hex">0</a></usr>', '<usr>' + '<a>' * 40):
            self.assertRaises(InvalidHeader, parse_folder, text)

    def test_names_and_values_that_none_can_hold(self) -> None:
        """Names that are no identifiers, numbers of more than 64 bits, control characters, other types."""
        wrong: list[Any] = [{'a b': 1}, {'': 1}, {'1a': 1}, {'a': 2**63}, {'a': 'x\0'}, {'a': []}, {'a<b': 1}]
        for values in wrong:
            header = Header(folders=[Folder(name='usr', values=values)])
            self.assertRaises(InvalidHeader, encode_header, header)
        self.assertRaises(InvalidHeader, encode_header, Header(name_value_ccsid=37))
