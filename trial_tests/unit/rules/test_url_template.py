"""Tests of URL templates of outgoing calls, and of query strings."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from twisted.trial.unittest import SynchronousTestCase

from zatotx.rules.routing.url_template import UrlTemplate, encode_query, url_template_error


class Colour(Enum):
    RED = 'rot & mehr'


class TemplateTests(SynchronousTestCase):
    def filled(self, text: str, **params: Any) -> tuple[bytes, dict[str, Any]]:
        target, left = UrlTemplate(text).fill(params)
        return target, dict(left)

    def refused(self, text: str, params: dict[str, Any] | None) -> str:
        return str(self.assertRaises(ValueError, UrlTemplate(text).fill, params))

    def test_without_parameters(self) -> None:
        """A path without placeholders leaves all parameters to the query."""
        self.assertEqual(self.filled('/a/b', id=1), (b'/a/b', {'id': 1}))
        self.assertEqual(self.filled(''), (b'/', {}))
        self.assertEqual(UrlTemplate('/a').fill(None), (b'/a', {}))

    def test_parameters(self) -> None:
        """Used parameters are removed from the result, not from the caller's mapping; the others are left for the
        query."""
        given = {'id': 5, 'part': 'x y', 'q': 'z'}
        target, left = UrlTemplate('/customers/{id}/{part}.json').fill(given)
        self.assertEqual((target, dict(left)), (b'/customers/5/x%20y.json', {'q': 'z'}))
        self.assertEqual(given, {'id': 5, 'part': 'x y', 'q': 'z'})

    def test_values_stay_values(self) -> None:
        """No value can add a segment, a query or a fragment."""
        for value, expected in (('a/b', b'a%2Fb'), ('a?b', b'a%3Fb'), ('a#b', b'a%23b'), ('%2e', b'%252e'),
                                ('ž\r\n', b'%C5%BE%0D%0A'), ('a+b', b'a%2Bb'), ('...', b'...')):  # fmt: skip
            self.assertEqual(self.filled('/x/{id}', id=value)[0], b'/x/' + expected, value)

    def test_several_segments(self) -> None:
        """{name:path} keeps slashes."""
        self.assertEqual(self.filled('/files/{name:path}', name='a/b c')[0], b'/files/a/b%20c')

    def test_nothing_leads_elsewhere(self) -> None:
        """Empty values and dot segments would address another resource: all of them are rejected together with missing
        ones."""
        for value, why in (('', 'id is empty'), ('..', 'id leads out of its place'), ('.', 'id leads out of its place'),
                           (None, 'params has no id'), (b'', 'id is empty')):  # fmt: skip
            self.assertEqual(self.refused('/x/{id}', {'id': value}), f'The URL path /x/{{id}} cannot be filled: {why}')
        self.assertIn('name leads out', self.refused('/x/{name:path}', {'name': 'a/../../b'}))
        self.assertEqual(self.refused('/{a}/{b}/{c}', {'b': 1}),
                         'The URL path /{a}/{b}/{c} cannot be filled: params has no a, params has no c')  # fmt: skip
        self.assertIn('params has no id', self.refused('/x/{id}', None))

    def test_in_the_query(self) -> None:
        """A template may have a query with placeholders, whose values may be empty."""
        self.assertEqual(self.filled('/a/{id}?v={v}&fixed=x%20y', id=1, v='', w=2), (b'/a/1?v=&fixed=x%20y', {'w': 2}))

    def test_literal_text(self) -> None:
        """Literal text is percent-encoded if necessary; existing escapes are unchanged."""
        self.assertEqual(self.filled('/výpis/a%20b')[0], b'/v%C3%BDpis/a%20b')

    def test_what_is_fixed(self) -> None:
        """The fixed part of a path is available for pings."""
        for text, fixed in (('/a/b', b'/a/b'), ('/a/b?c=1', b'/a/b'), ('/a/{id}/b', b'/a/'), ('/a/x-{id}', b'/a/'),
                            ('/{id}', b'/'), ('', b'/')):  # fmt: skip
            self.assertEqual(UrlTemplate(text).fixed_path, fixed, text)

    def test_mistakes(self) -> None:
        """All errors of an invalid template are reported."""
        for text in ('', '/', '/a', '/a/{b}/{c:path}', '/a?b={b}', '/a/{b}?c={c}&d=e'):
            self.assertEqual(url_template_error(text), '', text)
        for text, wrong in (('a', 'must begin with /'), ('/{', 'braces'), ('/{1}', 'needs a name'), ('/a#b', '#'),
                            ('/a?b#c', '#'), ('?a=1', 'must begin with /'), ('/{a}/{a}', '{a} stands twice'),
                            ('/{a}?b={a}', '{a} stands twice'), ('/a b', 'blanks'), ('/a?b={', 'braces'),
                            ('/a?{}=b', 'braces'), ('/a\r\nX: y', 'control')):  # fmt: skip
            self.assertIn(wrong, url_template_error(text), text)


    def test_reasons(self) -> None:
        """Each error is reported once, in the order of what is read."""
        braces = 'the braces of {!r} are not in pairs around names'
        blanks = 'it must have neither blanks nor control characters'
        for text, why in (
            ('?a=1', 'it must begin with /'), ('/a?b#c', 'it must be without #'), ('/{a}?b={a}', '{a} stands twice'),
            ('/{a}/{a}', '{a} stands twice'), ('/{a:path}?b={a}&c={a}', '{a} stands twice'),
            ('/a?b={', braces.format('b={')), ('/a?{}=b', braces.format('{}=b')), ('/a?}b', braces.format('}b')),
            ('/a\x7fb', blanks), ('/a\x1fb', blanks), ('/a b', blanks), ('/a?b\u00a0', blanks),
            ('/a?b#c d', f'it must be without #; {blanks}'),
        ):  # fmt: skip
            self.assertEqual(url_template_error(text), why, text)
        self.assertEqual([url_template_error(text) for text in ('/a!', '/a?', '/a?{b}', '/\u00e9~')], [''] * 4)

    def test_names(self) -> None:
        """The names of the parameters are those of the path and of the query, in order."""
        self.assertEqual(UrlTemplate('/{b}/{a:path}?x={c:path}&{d}').names, ('b', 'a', 'c', 'd'))
        template = UrlTemplate('/{b}?x={c:path}&{d}=1')
        self.assertEqual(template.fill({'b': 'x/y', 'c': '../a', 'd': 'q/r'})[0], b'/x%2Fy?x=../a&q%2Fr=1')
        self.assertEqual((template.text, template.fixed_path), ('/{b}?x={c:path}&{d}=1', b'/'))
        self.assertEqual(UrlTemplate('/{a:path}').fill({'a': 'x./..y/...'})[0], b'/x./..y/...')
        for value in ('./a', 'a/.', 'a/../b'):
            self.assertRaises(ValueError, UrlTemplate('/{a:path}').fill, {'a': value})
        self.assertEqual(UrlTemplate('/{a}').fill({'a': 'x/..'})[0], b'/x%2F..')
        self.assertEqual(UrlTemplate('/{a}').fill({'a': True})[0], b'/true')
        self.assertRaises(ValueError, UrlTemplate('/x?{a}').fill, {})


class QueryTests(SynchronousTestCase):
    def test_values(self) -> None:
        """Values keep their order, with JSON and ISO 8601 forms; None is omitted."""
        moment = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
        for value, expected in (
            ('a b', b'a%20b'), (5, b'5'), (1.5, b'1.5'), (True, b'true'), (Decimal('1.50'), b'1.50'),
            (b'\xc5\xbe', b'%C5%BE'),
            (date(2026, 1, 2), b'2026-01-02'), (moment, b'2026-01-02T03%3A04%3A00%2B00%3A00'), ('&=?', b'%26%3D%3F'),
            (Colour.RED, b'rot%20%26%20mehr'), (UUID(int=0), b'00000000-0000-0000-0000-000000000000'), ('', b''),
        ):  # fmt: skip
            self.assertEqual(encode_query({'x': value}), b'x=' + expected, value)
        self.assertEqual(encode_query({'a': None, 'b': 1, 'a=': 2}), b'b=1&a%3D=2')

    def test_repeated(self) -> None:
        """Lists give repeated names; pairs may repeat names too."""
        self.assertEqual(encode_query({'a': [1, None, 'x'], 'b': ()}), b'a=1&a=x')
        self.assertEqual(encode_query([('a', 1), ('b', 2), ('a', 3)]), b'a=1&b=2&a=3')

    def test_what_has_no_form(self) -> None:
        """Text that cannot be encoded as UTF-8, and invalid UTF-8, raise ValueError."""
        self.assertRaises(ValueError, encode_query, {'a': '\ud800'})
        self.assertRaises(ValueError, encode_query, {'a': b'\xff'})
