"""Tests of multipart/form-data: fields and the positions of files."""

from __future__ import annotations

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.properties import holds
from zatotx.wire.http.multipart import Malformed, MultipartForm, MultipartLimits, parse_boundary, parse_multipart

BOUNDARY = 'XbX'
PIECES = st.lists(st.sampled_from([b'x', b'\r\n', b'--XbX', b'\r\n--Xb', b'\r']))
PARTS = st.lists(st.tuples(st.sampled_from('abc'), PIECES, st.booleans()), max_size=4)


def written(*parts: tuple[str, bytes, str | None]) -> bytes:
    """Returns a body with parts given as (name, content, filename or None)."""
    out = b''
    for name, content, filename in parts:
        also = f'; filename="{filename}"' if filename is not None else ''
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{also}\r\n\r\n'
        out += head.encode() + content + b'\r\n'
    return out + f'--{BOUNDARY}--\r\n'.encode()


def read(body: bytes, size: int = 1 << 20, **limits: int) -> MultipartForm:
    """Parses `body` in pieces of `size` bytes."""
    pieces = (body[start : start + size] for start in range(0, len(body), size))
    return parse_multipart(pieces, lambda start, size: body[start : start + size], BOUNDARY, MultipartLimits(**limits))


class FormTests(SynchronousTestCase):
    def refused(self, body: bytes, **limits: int) -> str:
        return str(self.assertRaises(Malformed, read, body, **limits))

    def test_fields_are_text_and_repeated_ones_lists(self) -> None:
        """Fields are decoded as UTF-8; repeated ones are lists in the order of the body."""
        form = read(written(('a', 'é'.encode(), None), ('b', b'1', None), ('b', b'', None), ('b', b'3', None)))
        self.assertEqual(form.fields, {'a': 'é', 'b': ['1', '', '3']})
        self.assertEqual(form.files, ())

    def test_what_a_file_says_of_itself_is_kept(self) -> None:
        """Field name, file name as sent, content type and headers are available."""
        more = b'\r\nContent-Type: a/b\r\nX-Y: z\r\n\r\n'
        body = written(('doc', b'PDF', '../../etc/passwd')).replace(b'\r\n\r\n', more, 1)
        [part] = read(body).files
        self.assertEqual((part.name, part.filename, part.content_type), ('doc', '../../etc/passwd', 'a/b'))
        self.assertEqual(part.headers['X-Y'], 'z')

    def test_a_part_with_a_content_type_is_a_file_also_without_a_name(self) -> None:
        """Parts with a content type are files, as clients send blobs, except text/plain, which some use for fields."""
        typed = written(('a', b'x', None)).replace(b'\r\n\r\n', b'\r\nContent-Type: image/png\r\n\r\n', 1)
        self.assertEqual([part.name for part in read(typed).files], ['a'])
        plain = written(('a', b'x', None)).replace(b'\r\n\r\n', b'\r\nContent-Type: text/plain\r\n\r\n', 1)
        self.assertEqual(read(plain).fields, {'a': 'x'})

    def test_an_empty_form_and_one_after_a_preamble(self) -> None:
        """An empty form and a form after a preamble are accepted."""
        self.assertEqual(read(f'--{BOUNDARY}--'.encode()).fields, {})
        self.assertEqual(read(b'read on\r\n' + written(('a', b'1', None))).fields, {'a': '1'})

    def test_a_preamble_moves_no_file(self) -> None:
        """A preamble with the boundary's text and an empty line does not affect positions; a long preamble is
        rejected."""
        for preamble in (b'', f'about {BOUNDARY}\r\n\r\n'.encode(), b'\r\n\r\n', b'x' * 16_000 + b'\r\n'):
            body = preamble + written(('f', b'content', 'x'), ('g', b'more', 'y'))
            self.assertEqual([body[part.start : part.start + part.size] for part in read(body).files],
                             [b'content', b'more'])
        self.assertIn('bytes before the first part',
                      self.refused(b'x' * 20_000 + b'\r\n' + written(('f', b'content', 'x'))))

    def test_names_of_files_beyond_ascii(self) -> None:
        """Non-ASCII file names are accepted unescaped, quoted in different styles, or encoded by RFC 8187, which takes
        precedence."""
        for said, name in (
            ('filename="\u017c.txt"', '\u017c.txt'), ('filename="a%22b;c"', 'a"b;c'), ('filename="a\\"b;c"', 'a"b;c'),
            ("filename*=UTF-8''na%C3%AFve%20x.txt", 'na\xefve x.txt'), ("FileName*=\"utf-8'en'%e2%82%ac\"", '\u20ac'),
            ("filename=\"x.txt\"; filename*=iso-8859-1''%e9", '\xe9'),
            ('filename="; filename*=UTF-8\'\'y"', "; filename*=UTF-8''y"),
        ):  # fmt: skip
            body = written(('f', b'1', 'FILE')).replace(b'filename="FILE"', said.encode())
            self.assertEqual([part.filename for part in read(body).files], [name])
        for said in ('filename*=x', "filename*=utf-7''x", "filename*=utf-8''%ff", "filename*=\xff''x", 'filename*='):
            body = written(('f', b'1', 'FILE')).replace(b'filename="FILE"', said.encode())
            self.assertEqual(self.refused(body), 'the filename* of a part cannot be read')

    def test_what_ends_early_or_is_none_is_refused(self) -> None:
        """A body truncated at any byte is rejected."""
        whole = written(('a', b'1', None), ('f', b'22', 'x'))
        for end in range(len(whole) - 4):
            self.refused(whole[:end])
        self.refused(b'{"a": 1}')
        self.refused(written(('a', b'1', None)).replace(b'form-data', b'attachment'))
        self.refused(written(('', b'1', None)))

    def test_limits(self) -> None:
        """Limits on parts, text, header size and header count are enforced."""
        many = written(*((str(n), b'', None) for n in range(11)))
        self.refused(many, parts=10)
        self.assertEqual(len(read(many, parts=11).fields), 11)
        eleven = written(('a', b'123456', None), ('b', b'78901', None))
        self.assertIn('more than 10 bytes', self.refused(eleven, text=10))
        self.refused(written(('a' * 500, b'', None)), header=400)
        crowded = written(('a', b'', None)).replace(b'\r\n\r\n', b'\r\nA: b' * 9 + b'\r\n\r\n', 1)
        self.assertEqual(self.refused(crowded), 'maximum segment header count exceeded: the limits here are 1000 '
                         'parts, 8 headers a part, 4096 bytes a header')

    def test_a_field_that_is_not_utf8_is_named(self) -> None:
        """The error names a field that is not UTF-8; the encoding is never guessed."""
        self.assertEqual(self.refused(written(('a', b'\xff', None))), "the field 'a' is not UTF-8")
        self.assertEqual(self.refused(written(('f', b'1', 'FILE')).replace(b'FILE', b'\xff')),
                         'segment header failed to decode')

    def test_what_is_said_twice(self) -> None:
        """Duplicate parameters are rejected, since programs may use different ones. Inside quoted strings they have no
        effect."""
        for said, what in (('name="g"', 'name'), ('Name=g', 'name'), ('filename="x"; filename="y"', 'filename')):
            body = written(('f', b'1', None)).replace(b'"f"', b'"f"; ' + said.encode())
            self.assertEqual(self.refused(body), f'a part says its {what} twice')
        form = read(written(('f', b'1', 'x; name=g; filename=h')))
        self.assertEqual([(part.name, part.filename) for part in form.files], [('f', 'x; name=g; filename=h')])
        error = self.assertRaises(Malformed, parse_boundary, b'multipart/form-data; boundary=x; Boundary="y"')
        self.assertEqual(str(error), 'Content-Type says its boundary twice')

    def test_boundaries(self) -> None:
        """A boundary may be quoted; a missing, overlong or unprintable one is rejected."""
        self.assertEqual(parse_boundary(b'multipart/form-data; boundary=x'), 'x')
        self.assertEqual(parse_boundary(b'multipart/form-data; charset=utf-8; boundary="a b"'), 'a b')
        said = b'multipart/form-data; boundary='
        for bad in (b'multipart/form-data', b'multipart/mixed; boundary=x', said + b'x' * 71, said + b'\xe9'):
            self.assertRaises(Malformed, parse_boundary, bad)


    def test_bounds(self) -> None:
        """The limits are exact, and those of the documentation."""
        usual = MultipartLimits()
        self.assertEqual((usual.parts, usual.text, usual.header, usual.headers), (1_000, 1_048_576, 4_096, 8))
        self.assertEqual(read(written(('a', b'12345', None), ('b', b'67890', None)), text=10).fields['b'], '67890')
        self.assertEqual(len(parse_boundary(b'multipart/form-data; boundary=' + b'x' * 70)), 70)
        for field, why in ((b'multipart/form-data; boundary=' + b'x' * 71, 'the boundary is longer than 70 characters'),
                           (b'multipart/mixed; boundary=x', 'Content-Type names no boundary'),
                           (b'multipart/form-data; boundary=""', 'Content-Type names no boundary')):  # fmt: skip
            self.assertIn(why, str(self.assertRaises(Malformed, parse_boundary, field)))
        self.assertIn('is not form-data with a name', self.refused(written(('', b'1', None))))

    def test_metadata(self) -> None:
        """A file without a name or type has none; three values of a field make one list."""
        typed = written(('a', b'x', None)).replace(b'\r\n\r\n', b'\r\nContent-Type: image/png\r\n\r\n', 1)
        [part] = read(typed).files
        self.assertEqual((part.filename, part.content_type, part.size), ('', 'image/png', 1))
        [part] = read(written(('a', b'', 'f'))).files
        self.assertEqual((part.content_type, part.size, dict(part.headers)),
                         ('', 0, {'Content-Disposition': 'form-data; name="a"; filename="f"'}))  # fmt: skip
        self.assertEqual(read(written(*[('a', b'%d' % n, None) for n in range(4)])).fields, {'a': ['0', '1', '2', '3']})


class PlaceTests(SynchronousTestCase):
    @holds(parts=PARTS, size=st.integers(1, 40))
    def test_every_file_is_found_where_it_lies(self, parts: list[tuple[str, list[bytes], bool]], size: int) -> None:
        """Positions are correct for any content and any split."""
        sent = [(name, b''.join(pieces), 'f' if is_file else None) for name, pieces, is_file in parts]
        sent = [one for one in sent if b'\r\n--XbX' not in b'\r\n' + one[1]]
        body = written(*sent)
        found = [(part.name, body[part.start : part.start + part.size]) for part in read(body, size).files]
        self.assertEqual(found, [(name, content) for name, content, filename in sent if filename])
