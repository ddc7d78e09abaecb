"""Tests of decompression of gzip and deflate bodies."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from zatotx.wire.http.decompression import DecompressionBomb, Decompressor, Malformed, parse_content_encoding

TEXT = b''.join(b'{"number": %d, "name": "Anna"}' % n for n in range(5_000))


def inflated(
    data: bytes, coding: str = 'gzip', *, piece: int = 1 << 20, most: int = 1 << 24, ratio: int = 100
) -> bytes:
    inflater = Decompressor(coding, max_size=most, max_ratio=ratio)
    out = b''.join(inflater.feed(data[start : start + piece]) for start in range(0, len(data), piece))
    inflater.finish()
    return out


class InflaterTests(SynchronousTestCase):
    def test_gives_what_was_compressed(self) -> None:
        """Both codings are decompressed, at every level, for any split, and for empty bodies."""
        for plain in (b'', b'x', TEXT, Random(1).randbytes(100_000)):
            for level in (0, 1, 9):
                for coding, data in (('gzip', gzip.compress(plain, level)), ('deflate', zlib.compress(plain, level))):
                    for piece in (7, 1000, 1 << 20):
                        self.assertEqual(inflated(data, coding, piece=piece), plain)

    def test_members_one_after_the_other(self) -> None:
        """A gzip body may have several members (RFC 1952 §2.2), split at any position."""
        data = gzip.compress(b'one ') + gzip.compress(b'') + gzip.compress(b'two')
        for piece in range(1, len(data) + 1):
            self.assertEqual(inflated(data, piece=piece), b'one two')

    def test_too_many_members(self) -> None:
        """More than a thousand members are rejected, since each takes time even if it is empty."""
        self.assertEqual(inflated(gzip.compress(b'') * 1_000), b'')
        self.assertRaises(Malformed, inflated, gzip.compress(b'') * 1_001)

    def test_damaged(self) -> None:
        """Truncation, flipped bits, another coding and trailing garbage raise Malformed and no other exception."""
        for coding, data in (('gzip', gzip.compress(TEXT)), ('deflate', zlib.compress(TEXT))):
            for broken in (b'', data[:-1], data[:10], data + b'x', data + b'\0' * 8, b'plain text', data[1:],
                           TEXT[:100], data[:-6] + b'\xff' * 6):  # fmt: skip
                for piece in (3, 1 << 20):
                    self.assertRaises(Malformed, inflated, broken, coding, piece=piece)
        self.assertRaises(Malformed, inflated, zlib.compress(TEXT), 'gzip')
        self.assertRaises(Malformed, inflated, gzip.compress(TEXT), 'deflate')

    def test_any_flipped_bit_is_a_fault_or_harmless(self) -> None:
        """Checksums detect changed content; some bits of the header have no effect."""
        plain, random = TEXT[:300], Random(2)
        data = gzip.compress(plain)
        for _ in range(300):
            at = random.randrange(len(data) * 8)
            broken = bytearray(data)
            broken[at // 8] ^= 1 << at % 8
            try:
                self.assertEqual(inflated(bytes(broken)), plain)
            except (Malformed, DecompressionBomb):
                continue

    def test_absolute_limit(self) -> None:
        """Output up to the limit is returned; one byte more raises DecompressionBomb, which names the limit."""
        self.assertEqual(len(inflated(gzip.compress(TEXT), most=len(TEXT))), len(TEXT))
        why = self.assertRaises(DecompressionBomb, inflated, gzip.compress(TEXT), most=len(TEXT) - 1)
        self.assertIn(str(len(TEXT) - 1), str(why))

    def test_ratio(self) -> None:
        """The ratio applies after the first 64 KiB; small bodies may compress arbitrarily well."""
        self.assertEqual(len(inflated(gzip.compress(bytes(64 * 1024)), ratio=2)), 64 * 1024)
        why = self.assertRaises(DecompressionBomb, inflated, gzip.compress(bytes(1 << 20)), ratio=100)
        self.assertIn('100 times', str(why))
        self.assertEqual(inflated(gzip.compress(TEXT), ratio=50), TEXT)

    def test_a_bomb_is_never_in_memory(self) -> None:
        """Rejecting a gigabyte compressed to a megabyte uses memory bounded by the limit."""
        bomb = gzip.compress(bytes(1 << 24)) * 64
        tracemalloc.start()
        try:
            self.assertRaises(DecompressionBomb, inflated, bomb, most=1 << 20, ratio=10_000)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        self.assertLess(peak, 8 << 20)

    def test_usual_limits(self) -> None:
        """The ratio is a hundred by default, beyond exactly 64 KiB."""
        data = gzip.compress(bytes(65_537))
        self.assertLess(len(data), 655)
        why = self.assertRaises(DecompressionBomb, inflated, data, ratio=2)
        self.assertIn('more than 2 times', str(why))
        self.assertEqual(len(inflated(data + gzip.compress(b'', 0) * 3, ratio=1_000)), 65_537)
        most = Decompressor('deflate', max_size=1 << 24)
        self.assertRaises(DecompressionBomb, most.feed, zlib.compress(bytes(1 << 20)))
        size = 100 * len(zlib.compress(bytes(1 << 20), 9))
        exact = Decompressor('deflate', max_size=1 << 24, max_ratio=(1 << 20) // (size // 100) + 1)
        self.assertEqual(len(exact.feed(zlib.compress(bytes(1 << 20), 9))), 1 << 20)

    def test_reasons(self) -> None:
        """What is wrong is said."""
        for coding, data, why in (
            ('gzip', b'plain', 'the body is not gzip, or was damaged'),
            ('gzip', gzip.compress(TEXT)[:-1], 'the gzip body ends too early'),
            ('deflate', b'', 'the deflate body ends too early'),
            ('deflate', zlib.compress(b'x') + b'y', 'something follows the end of the deflate body'),
            ('gzip', gzip.compress(b'') * 1_001, 'the gzip body has more than 1000 members'),
        ):
            self.assertEqual(str(self.assertRaises(Malformed, inflated, data, coding)), why)
        self.assertIn('larger than the 5 bytes', str(self.assertRaises(
            DecompressionBomb, inflated, gzip.compress(bytes(1 << 20)), most=5, ratio=1)))  # fmt: skip

    def test_without_a_header(self) -> None:
        """Some servers send deflate without its header; only the first byte tells, and only where that is expected."""
        raw = zlib.compressobj(wbits=-15)
        data = raw.compress(TEXT) + raw.flush()
        for piece in (1, 1 << 20):
            for sent in (data, zlib.compress(TEXT)):
                bare = Decompressor('deflate', max_size=1 << 24, allow_raw=True)
                self.assertEqual(bare.feed(b''), b'')
                self.assertEqual(b''.join(bare.feed(sent[at : at + piece]) for at in range(0, len(sent), piece)), TEXT)
                bare.finish()
        self.assertRaises(Malformed, inflated, data, 'deflate')
        self.assertRaises(Malformed, Decompressor('gzip', max_size=9, allow_raw=True).feed, data)

    def test_names(self) -> None:
        """Names of codings follow RFC 9110 §8.4.1, in any case; multiple codings are rejected."""
        known = {None: '', b'': '', b'identity': '', b'gzip': 'gzip', b'X-GZip': 'gzip', b' deflate ': 'deflate'}
        for field, coding in known.items():
            self.assertEqual(parse_content_encoding(field), coding)
        for field in (b'br', b'gzip, gzip', b'zstd', b'compress', b'gzip;q=1', b'\xff'):
            self.assertIsNone(parse_content_encoding(field))
