"""Encodes and decodes text by its coded character set identifier (CCSID).

CCSIDs 1200, 13488 and 17584 are UTF-16 in the byte order that the encoding of the data says (MQENC_INTEGER_REVERSED is
little-endian).
"""

from __future__ import annotations

UTF_8, UTF_16 = 1208, 1200
INTEGER_MASK, INTEGER_REVERSED = 0xF, 0x2
_UTF_16 = frozenset((UTF_16, 13488, 17584))
_OPEN_SYSTEMS = 1047  # Python has no codec for it: cp037 with three pairs of characters exchanged
_EXCHANGE = bytes.maketrans(bytes.fromhex('5fb0baadbbbd'), bytes.fromhex('b05fadbabdbb'))
_CODECS = {
    37: 'cp037', 273: 'cp273', 367: 'ascii', 424: 'cp424', 437: 'cp437', 500: 'cp500', 720: 'cp720', 737: 'cp737',
    775: 'cp775', 813: 'iso8859-7', 819: 'latin-1', 850: 'cp850', 852: 'cp852', 855: 'cp855', 857: 'cp857',
    858: 'cp858', 860: 'cp860', 861: 'cp861', 862: 'cp862', 863: 'cp863', 864: 'cp864', 865: 'cp865', 866: 'cp866',
    869: 'cp869', 874: 'cp874', 875: 'cp875', 878: 'koi8-r', 912: 'iso8859-2', 913: 'iso8859-3', 914: 'iso8859-4',
    915: 'iso8859-5', 916: 'iso8859-8', 919: 'iso8859-10', 920: 'iso8859-9', 921: 'iso8859-13', 923: 'iso8859-15',
    932: 'cp932', 936: 'gbk', 943: 'cp932', 949: 'cp949', 950: 'big5', 954: 'euc_jp', 964: 'big5', 970: 'euc_kr',
    1026: 'cp1026', 1051: 'hp-roman8', 1089: 'iso8859-6', 1124: 'iso8859-5', 1140: 'cp1140', 1168: 'koi8-u',
    1208: 'utf-8', 1250: 'cp1250', 1251: 'cp1251', 1252: 'cp1252', 1253: 'cp1253', 1254: 'cp1254', 1255: 'cp1255',
    1256: 'cp1256', 1257: 'cp1257', 1258: 'cp1258', 1275: 'mac-roman', 1363: 'cp949', 1381: 'gb2312', 1386: 'gbk',
    1392: 'gb18030', 5050: 'euc_jp', 5348: 'cp1252', 5488: 'gb18030',
}  # fmt: skip


class InvalidText(ValueError):  # noqa: N818 - it completes a sentence
    """Text cannot be encoded or decoded. The message is a verb phrase whose subject is the text."""


def is_known(ccsid: int) -> bool:
    """Return whether text with the given CCSID can be encoded and decoded."""
    return ccsid in _CODECS or ccsid in _UTF_16 or ccsid == _OPEN_SYSTEMS


def decode_text(data: bytes, ccsid: int, encoding: int) -> str:
    """Decode text by its CCSID. `encoding` is MQMD.Encoding, or the encoding field of the preceding header. Raises
    InvalidText."""
    if ccsid == _OPEN_SYSTEMS:
        data = data.translate(_EXCHANGE)
    try:
        return data.decode(_codec(ccsid, encoding))
    except UnicodeDecodeError as error:
        raise InvalidText(f'is no text of CCSID {ccsid}: byte {error.start} cannot be decoded') from None


def encode_text(text: str, ccsid: int, encoding: int) -> bytes:
    """Encode text by its CCSID. Raises InvalidText."""
    try:
        data = text.encode(_codec(ccsid, encoding))
    except UnicodeEncodeError as error:
        raise InvalidText(f'has characters that CCSID {ccsid} does not have: {text[error.start]!r}') from None
    return data.translate(_EXCHANGE) if ccsid == _OPEN_SYSTEMS else data


def is_little_endian(encoding: int) -> bool:
    """Return whether binary integers are little-endian. `encoding` is the value of an encoding field of IBM MQ."""
    return encoding & INTEGER_MASK == INTEGER_REVERSED


def _codec(ccsid: int, encoding: int) -> str:
    if ccsid in _UTF_16:
        return 'utf-16-le' if is_little_endian(encoding) else 'utf-16-be'
    codec = 'cp037' if ccsid == _OPEN_SYSTEMS else _CODECS.get(ccsid)
    if codec is None:
        raise InvalidText(f'has CCSID {ccsid}, which is not known here')
    return codec
