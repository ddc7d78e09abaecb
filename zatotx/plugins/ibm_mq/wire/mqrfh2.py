"""Encodes and decodes the rules and formatting header 2 (MQRFH2): folders of named values that precede the data of a
message.

The layout is IBM's (MQI reference, MQRFH2): eye catcher `RFH `, Version, StrucLength, Encoding, CodedCharSetId, Format,
Flags and NameValueCCSID, then for each folder its length and its text, padded with blanks to a multiple of four bytes.
The integers of the header are in the byte order that the structure before it says (MQMD.Encoding), its characters in
that structure's CCSID; Encoding, CodedCharSetId and Format describe the data behind it.

A folder is text like `<usr><color>red</color><size dt="i4">3</size></usr>`. `dt` is the type of a value: boolean,
bin.hex, i1, i2, i4, i8, int, r4, r8, char or string (no `dt`); `xsi:nil="true"` says that there is none.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence

from attrs import field, frozen

from .ccsid import UTF_8, InvalidText, decode_text, encode_text, is_little_endian

FORMAT = 'MQHRF2'
VERSION, FIXED_LENGTH = 2, 36
NATIVE = 546  # integers, decimals and floats reversed: x86
NAME_VALUE_CCSIDS = (1200, 1208, 13488, 17584)
MAX_DEPTH = 16  # of nested elements

PropertyValue = str | bool | int | float | bytes | None

_INTEGERS = {'i1': 8, 'i2': 16, 'i4': 32, 'i8': 64, 'int': 64}
_TAG = re.compile(r'<(/?)([^\W\d][\w.$:-]*)((?:\s+[\w:.-]+\s*=\s*(?:"[^"<]*"|\'[^\'<]*\'))*)\s*(/?)>')
_ATTRIBUTE = re.compile(r'([\w:.-]+)\s*=\s*(?:"([^"]*)"|\'([^\']*)\')')
_REFERENCE = re.compile(r'&(#\d{1,7}|#x[0-9a-fA-F]{1,6}|[a-z]{2,4});|&')
_NAME = re.compile(r'[^\W\d][\w$]*\Z')
_ENTITIES = {'lt': '<', 'gt': '>', 'amp': '&', 'quot': '"', 'apos': "'"}
_FORBIDDEN = re.compile('[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]')


class InvalidHeader(ValueError):  # noqa: N818 - it completes a sentence
    """Bytes are not a valid MQRFH2 header, or values cannot be represented in it. The message is a verb phrase whose
    subject is the header or the values."""


@frozen(kw_only=True)
class Folder:
    """One folder of an MQRFH2 header. The names of nested elements are joined with dots."""

    name: str
    values: Mapping[str, PropertyValue] = field(factory=dict)


@frozen(kw_only=True)
class Header:
    """An MQRFH2 header. `encoding`, `ccsid` and `format` describe the data that follows it."""

    folders: Sequence[Folder] = ()
    encoding: int = NATIVE
    ccsid: int = UTF_8
    format: str = ''
    flags: int = 0
    name_value_ccsid: int = UTF_8

    def folder(self, name: str) -> Mapping[str, PropertyValue]:
        """Return the values of the folders of that name; {} where there is none."""
        found: dict[str, PropertyValue] = {}
        for one in self.folders:
            if one.name == name:
                found.update(one.values)
        return found


def decode_header(data: bytes, encoding: int, ccsid: int) -> tuple[Header, bytes]:
    """Decode the header at the beginning of `data`, and return it and the data after it. `encoding` and `ccsid` are the
    values in the preceding structure. Raises InvalidHeader."""
    if len(data) < FIXED_LENGTH:
        raise InvalidHeader(f'ends within its MQRFH2 header: {len(data)} of at least {FIXED_LENGTH} bytes are there')
    order = '<' if is_little_endian(encoding) else '>'
    version, length, data_encoding, data_ccsid = struct.unpack_from(f'{order}iiii', data, 4)
    flags, name_value_ccsid = struct.unpack_from(f'{order}ii', data, 28)
    eye_catcher, data_format = _characters(data[:4], ccsid), _characters(data[20:28], ccsid)
    if eye_catcher != 'RFH ' or version != VERSION:
        raise InvalidHeader(f'has no MQRFH2 header of version 2, as its format says: it begins with {data[:8]!r}')
    if not FIXED_LENGTH <= length <= len(data) or length % 4:
        raise InvalidHeader(f'has an MQRFH2 header of {length} bytes, of which {len(data)} are there')
    folders = _decode_folders(data[FIXED_LENGTH:length], order, name_value_ccsid, encoding)
    header = Header(folders=folders, encoding=data_encoding, ccsid=data_ccsid, format=data_format.rstrip(' \0'),
                    flags=flags, name_value_ccsid=name_value_ccsid)  # fmt: skip
    return header, data[length:]


def encode_header(header: Header, encoding: int = NATIVE, ccsid: int = UTF_8) -> bytes:
    """Encode a header as bytes. `encoding` and `ccsid` are the values in the preceding structure. Raises
    InvalidHeader."""
    order = '<' if is_little_endian(encoding) else '>'
    if header.name_value_ccsid not in NAME_VALUE_CCSIDS:
        raise InvalidHeader(f'cannot have folders of CCSID {header.name_value_ccsid}')
    parts = []
    for one in header.folders:
        text = format_folder(one)
        encoded = encode_text(text, header.name_value_ccsid, encoding)
        blank = encode_text(' ', header.name_value_ccsid, encoding)
        encoded += blank * (-len(encoded) % 4 // len(blank))
        parts.append(struct.pack(f'{order}i', len(encoded)) + encoded)
    variable = b''.join(parts)
    return (
        encode_text('RFH ', ccsid, encoding)
        + struct.pack(f'{order}iiii', VERSION, FIXED_LENGTH + len(variable), header.encoding, header.ccsid)
        + encode_text(header.format.ljust(8)[:8], ccsid, encoding)
        + struct.pack(f'{order}ii', header.flags, header.name_value_ccsid)
        + variable
    )


def format_folder(folder: Folder) -> str:
    """Serialize a folder as text. Raises InvalidHeader if a name is not a valid identifier."""
    parts = [f'<{_valid_name(folder.name)}>']
    for name, value in folder.values.items():
        text, attribute = _format_value(name, value)
        parts.append(f'<{_valid_name(name)}{attribute}>{text}</{name}>')
    return ''.join((*parts, f'</{folder.name}>'))


def parse_folder(text: str) -> list[Folder]:
    """Parse the folders in a text, which usually contains one folder. Raises InvalidHeader."""
    folders: list[Folder] = []
    position, text = 0, text.strip(' \0\r\n\t')
    while position < len(text):
        match = _TAG.match(text, position)
        if match is None or match[1]:
            raise InvalidHeader(f'has a folder in its MQRFH2 header that does not begin with a tag: {text[:40]!r}')
        values: dict[str, PropertyValue] = {}
        position = match.end()
        if not match[4]:
            position = _parse_elements(text, position, match[2], '', values, 1)
        folders.append(Folder(name=match[2], values=values))
        while position < len(text) and text[position].isspace():
            position += 1
    return folders


def _characters(data: bytes, ccsid: int) -> str:
    try:
        text = decode_text(data, ccsid, NATIVE)
    except InvalidText:
        text = ''
    return text if len(text) == len(data) else data.decode('latin-1')  # headers are in single bytes


def _decode_folders(data: bytes, order: str, ccsid: int, encoding: int) -> list[Folder]:
    folders: list[Folder] = []
    position = 0
    while position < len(data):
        (length,) = struct.unpack_from(f'{order}i', data, position) if len(data) - position >= 4 else (-1,)
        position += 4
        if not 0 <= length <= len(data) - position:
            raise InvalidHeader('has a folder in its MQRFH2 header that is longer than the header')
        try:
            text = decode_text(data[position : position + length], ccsid, encoding)
        except InvalidText as error:
            raise InvalidHeader(f'has a folder in its MQRFH2 header that {error}') from None
        folders += parse_folder(text)
        position += length
    return folders


def _parse_elements(text: str, position: int, parent: str, prefix: str, values: dict[str, PropertyValue], depth: int
                    ) -> int:
    """Collect the elements up to the end tag of `parent`; return the position behind it."""
    while True:
        start = text.find('<', position)
        match = _TAG.match(text, start) if start >= 0 else None
        if match is None or depth > MAX_DEPTH:
            raise InvalidHeader(f'has a folder in its MQRFH2 header that breaks off or is malformed in {parent!r}')
        if match[1]:
            if match[2] != parent:
                raise InvalidHeader(f'has a folder in its MQRFH2 header where {match[2]!r} ends within {parent!r}')
            return match.end()
        position = _parse_element(text, match, prefix, values, depth)


def _parse_element(text: str, match: re.Match[str], prefix: str, values: dict[str, PropertyValue], depth: int) -> int:
    name, attributes = prefix + match[2], _attributes(match[3])
    if match[4]:
        values[name] = _parse_value(name, '', attributes)
        return match.end()
    start = text.find('<', match.end())
    following = _TAG.match(text, start) if start >= 0 else None
    if following is not None and following[1] and following[2] == match[2]:
        values[name] = _parse_value(name, text[match.end() : start], attributes)
        return following.end()
    return _parse_elements(text, match.end(), match[2], f'{name}.', values, depth + 1)


def _attributes(text: str) -> Mapping[str, str]:
    return {match[1]: _unescape(match[2] if match[2] is not None else match[3]) for match in _ATTRIBUTE.finditer(text)}


def _parse_value(name: str, text: str, attributes: Mapping[str, str]) -> PropertyValue:
    if attributes.get('xsi:nil') == 'true':
        return None
    type_, text = attributes.get('dt', 'string'), _unescape(text)
    try:
        if type_ == 'boolean':
            return {'1': True, '0': False, 'true': True, 'false': False}[text.strip().lower()]
        if type_ in _INTEGERS:
            return int(text)
        if type_ in ('r4', 'r8'):
            return float(text)
        if type_ == 'bin.hex':
            return bytes.fromhex(text)
    except (ValueError, KeyError):
        raise InvalidHeader(f'has a property {name!r} in its MQRFH2 header that is no {type_}: {text[:40]!r}') from None
    return text


def _format_value(name: str, value: PropertyValue) -> tuple[str, str]:
    """The text of a value, and the attribute with its type."""
    if value is None:
        return '', ' xsi:nil="true"'
    if isinstance(value, bool):
        return str(int(value)), ' dt="boolean"'
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise InvalidHeader(f'cannot have the property {name!r}: {value} has more than 64 bits')
        return str(value), ' dt="i4"' if -(2**31) <= value < 2**31 else ' dt="i8"'
    if isinstance(value, float):
        return repr(value), ' dt="r8"'
    if isinstance(value, bytes):
        return value.hex(), ' dt="bin.hex"'
    if not isinstance(value, str):
        raise InvalidHeader(f'cannot have the property {name!r} of type {type(value).__name__}: text, bytes, numbers, '
                            'bool and None can be sent')  # fmt: skip
    if found := _FORBIDDEN.search(value):
        raise InvalidHeader(f'cannot have the property {name!r} with the character {found[0]!r}')
    return value.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;').replace('\r', '&#13;'), ''


def _valid_name(name: str) -> str:
    if not _NAME.match(name):
        raise InvalidHeader(f'cannot have a property named {name!r}: names are letters, digits, _ and $, and do not '
                            'begin with a digit')  # fmt: skip
    return name


def _unescape(text: str) -> str:
    if '&' not in text:
        return text

    def replace(match: re.Match[str]) -> str:
        reference = match[1] or ''
        if reference.startswith('#'):
            code = int(reference[2:], 16) if reference[1] == 'x' else int(reference[1:])
            if code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF:
                return chr(code)
        if reference not in _ENTITIES:
            raise InvalidHeader(f'has a reference in its MQRFH2 header that is not known: {match[0]!r}')
        return _ENTITIES[reference]

    return _REFERENCE.sub(replace, text)
