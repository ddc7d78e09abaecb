"""Tests of decisions about responses to browsers and caches: CORS, entity tags, compression."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.properties import holds
from zatotx.plugins.http.schema import CHANNEL_REST
from zatotx.plugins.http.schema.cors import Cors, cors_rules
from zatotx.rules.http.compression_and_etags import (
    accepts_gzip,
    compute_etag,
    is_compressible,
    is_etag,
    matches_if_none_match,
    weaken_etag,
)
from zatotx.rules.http.cors import CorsForbidden, CorsRules, HeaderFields, header_names_error, origin_error
from zatotx.schema.validation import validate

SHOP, ADMIN, OTHER = b'https://shop.example', b'http://admin.example:8080', b'https://evil.example'


def rules(**fields: Any) -> CorsRules:
    """Returns the CORS rules of a channel with two allowed sites."""
    return cors_rules(Cors(**{'origins': ['https://Shop.example', 'http://admin.example:8080'], **fields}))


def told(fields: HeaderFields) -> dict[str, str]:
    """Returns fields by the part of their names after Access-Control-."""
    return {name.decode().removeprefix('Access-Control-'): value.decode() for name, value in fields}


class AnswerTests(SynchronousTestCase):
    def test_sites_that_may(self) -> None:
        """Each allowed site is named individually."""
        for origin in (SHOP, ADMIN):
            self.assertEqual(told(rules().response_headers(origin)), {'Allow-Origin': origin.decode()})

    def test_sites_that_may_not(self) -> None:
        """Other sites, however similar, and requests without an Origin get no fields."""
        for origin in (OTHER, b'null', b'https://shop.example:8443', b'http://shop.example', b'https://shop.example.ev',
                       b'https://xshop.example', b'https://shop.example, https://evil.ev', b'*', b'\xff', b'', None):
            self.assertEqual(rules().response_headers(origin), (), origin)

    def test_any_site(self) -> None:
        """If any site is allowed, all get the same response."""
        anybody = rules(origins=['*'])
        self.assertEqual(told(anybody.response_headers(OTHER)), {'Allow-Origin': '*'})
        self.assertEqual((anybody.varies_by_origin, rules().varies_by_origin), (False, True))

    def test_more(self) -> None:
        """Credentials and exposed header fields are sent."""
        self.assertEqual(told(rules(credentials=True, expose=['X-Zato-CID', 'ETag']).response_headers(SHOP)), {
            'Allow-Origin': 'https://shop.example', 'Allow-Credentials': 'true', 'Expose-Headers': 'X-Zato-CID, ETag',
        })  # fmt: skip


class PreflightTests(SynchronousTestCase):
    def test_what_is_asked_is_allowed(self) -> None:
        """Requested methods and headers are allowed by name, for ten minutes unless configured otherwise."""
        self.assertEqual(told(rules().preflight_headers(SHOP, b'PUT', b'content-type, authorization')), {
            'Allow-Origin': 'https://shop.example', 'Allow-Methods': 'PUT',
            'Allow-Headers': 'content-type, authorization', 'Max-Age': '600',
        })  # fmt: skip
        self.assertEqual(told(rules(max_age=0, methods=['GET', 'PUT'], headers=['X-One', 'content-type'],
                                    credentials=True).preflight_headers(SHOP, b'PUT', b'Content-Type,x-one')), {
            'Allow-Origin': 'https://shop.example', 'Allow-Credentials': 'true', 'Allow-Methods': 'GET, PUT',
            'Allow-Headers': 'Content-Type, x-one', 'Max-Age': '0',
        })  # fmt: skip
        self.assertNotIn('Allow-Headers', told(rules().preflight_headers(SHOP, b'PUT', None)))

    def test_what_is_not(self) -> None:
        """A rejected preflight says why."""
        strict = rules(methods=['GET'], headers=['X-One'])
        for origin, method, headers, why in (
            (OTHER, b'GET', None, 'site'),
            (SHOP, b'PUT', None, 'with GET only'),
            (SHOP, b'get', None, 'with GET only'),
            (SHOP, b'GET', b'X-One, X-Two, authorization', 'may not send X-Two, authorization'),
            (SHOP, b'GET', b'X-One, ', 'no list'),
            (SHOP, b'GET', b'X One', 'no list'),
            (SHOP, b'GET', b'x' * 5000, 'no list'),
        ):
            error = self.assertRaises(CorsForbidden, strict.preflight_headers, origin, method, headers)
            self.assertIn(why, str(error))
        for method in (b'G\xe9T', b'GET, PUT', b'', b'G T'):
            error = self.assertRaises(CorsForbidden, rules().preflight_headers, SHOP, method, None)
            self.assertIn('no name of a method', str(error))


    def test_bounds(self) -> None:
        """The list of requested names has at most 4,096 bytes; a default rule allows every method and header."""
        free = CorsRules(origins=None)
        self.assertEqual((free.max_age, free.credentials, free.expose_headers, free.methods, free.headers),
                         (600, False, (), (), None))  # fmt: skip
        self.assertEqual(told(free.preflight_headers(b'x', b'LINK', b'x' * 4096))['Allow-Headers'], 'x' * 4096)
        self.assertRaises(CorsForbidden, free.preflight_headers, b'x', b'LINK', b'x' * 4097)
        self.assertNotIn('Allow-Credentials', told(CorsRules(origins=None, credentials=True).response_headers(b'x')))
        self.assertEqual(told(free.preflight_headers(b'x', b'LINK', b' A ,b'))['Allow-Headers'], 'A, b')


class OriginTests(SynchronousTestCase):
    def test_reasons(self) -> None:
        """The reason is that of the first thing that is wrong."""
        form, rest = 'must be a scheme and a host', 'must have nothing but a host'
        for origin, why in (
            ('null', 'is every site that hides what it is'), ('', form), ('shop.example', form), ('://x', form),
            ('ht tp://x', form), ('h\u00e9://x', form), ('-://x', form), ('https:x', form), ('https://', rest),
            ('https://a/', rest), ('https://u@a', rest), ('https://a?x', rest), ('https://a#x', rest),
            ('https://a,b', rest), ('https://a b', rest), ('https://[::1', rest), ('https://[::1]8', rest),
            ('https://b\u00fccher.example', rest), ('https://:80', rest), ('https://a:', 'has a port that is none'),
            ('https://a:x', 'has a port that is none'), ('https://a:0', 'has a port that is none'),
            ('https://a:65536', 'has a port that is none'), ('https://a:000001', 'has a port that is none'),
            ('https://a:443', 'must do without :443'), ('HTTP://a:80', 'must do without :80'),
        ):  # fmt: skip
            self.assertIn(why, origin_error(origin), origin)
        for origin in ('https://a:65535', 'https://a:1', 'https://a:80', 'ftp://a:443', 'x-y+z.1://a', 'https://[::1]'):
            self.assertEqual(origin_error(origin), '', origin)
        self.assertEqual(header_names_error(['X One']), "'X One' is no name of a field")
        self.assertEqual(header_names_error(['A', '*']), "must be '*' alone, or names")

    def test_origins_as_browsers_send_them(self) -> None:
        """Origins are accepted only in the form that browsers send."""
        for origin in ('https://shop.example', 'http://localhost:3000', 'http://127.0.0.1', 'http://[::1]:8080', '*',
                       'https://xn--bcher-kva.example', 'chrome-extension://abcdef', 'capacitor://localhost'):
            self.assertEqual(origin_error(origin), '', origin)
        for origin in ('', 'shop.example', 'https://', 'https://shop.example/', 'https://shop.example/x', 'null',
                       'https://shop.example:443', 'http://shop.example:80', 'https://shop.example:port', 'https://*',
                       'https://u@shop.example', 'https://shop.example:0', 'https://bücher.example', '://x',
                       'https://shop.example?x', 'https://a b', 'https://[::1', 'https://[::1]8', 'https://a,b',
                       'https://*.example', 'ht tp://x', 'https://shop.example:', 'https://shop.example:99999'):
            self.assertNotEqual(origin_error(origin), '', origin)

    def test_names_of_fields(self) -> None:
        """Header names are tokens, or `*` alone."""
        self.assertEqual(header_names_error(['X-One', 'etag']), '')
        self.assertEqual(header_names_error(['*']), '')
        for wrong in (['X One'], ['*', 'X-One'], [''], ['X-Żółw'], ['a\r\nb']):
            self.assertNotEqual(header_names_error(wrong), '', wrong)

    def test_a_channel_names_its_mistakes(self) -> None:
        """A channel reports all errors by path; credentials require named sites."""
        fields = {'name': 'c', 'url_path': '/c', 'service': 's'}

        def errors(**cors: Any) -> dict[str, str]:
            return dict(validate(CHANNEL_REST, {**fields, 'cors': cors})[1])

        found = errors(origins=['https://shop.example/', '*'], methods=['get'], headers=['X One'], max_age=-1, age=1)
        self.assertEqual(set(found), {'cors.origins', 'cors.methods', 'cors.headers', 'cors.max_age', 'cors.age'})
        self.assertIn("'https://shop.example/' must", found['cors.origins'])
        self.assertIn("'*' is every site", found['cors.origins'])
        self.assertEqual(errors(), {'cors.origins': 'missing'})
        self.assertIn('cors.origins', errors(origins=[]))
        self.assertEqual(set(errors(origins=['*'], credentials=True, expose=['*'])),
                         {'cors.credentials', 'cors.expose'})  # fmt: skip
        self.assertEqual(errors(origins=['*']), {})
        self.assertEqual(errors(origins=['https://shop.example'], credentials=True), {})


class TagTests(SynchronousTestCase):
    def test_tags(self) -> None:
        """There is one strong tag per body; it is weak if the bytes may differ."""
        tag = compute_etag(b'one')
        self.assertEqual((tag, is_etag(tag), len(tag)), (compute_etag(b'one'), True, 34))
        self.assertNotEqual(tag, compute_etag(b'two'))
        self.assertEqual(weaken_etag(tag), b'W/' + tag)
        self.assertEqual(weaken_etag(weaken_etag(tag)), b'W/' + tag)
        self.assertEqual([is_etag(text) for text in (b'"', b'x', b'W/x', b'"a"b"', b'w/"a"')], [False] * 5)
        self.assertEqual([is_etag(text) for text in (b'""', b'W/""', b'"a b,c"')], [True] * 3)

    def test_what_the_client_has(self) -> None:
        """If-None-Match matches one tag of a list, strong or weak, with commas inside; `*` matches any."""
        for known in (b'"a"', b'W/"a"', b'"b", "a"', b'"b",W/"a","c"', b'*', b' * ', b'"x,y" , "a"'):
            for tag in (b'"a"', b'W/"a"'):
                self.assertTrue(matches_if_none_match(known, tag), (known, tag))
        for known in (b'', b'"b"', b'a', b'"A"', b'W/"b", "c"', b'"', b'"b", *', b', '):
            self.assertFalse(matches_if_none_match(known, b'"a"'), known)
        self.assertTrue(matches_if_none_match(b'"x,y"', b'"x,y"'))
        self.assertFalse(matches_if_none_match(b'"x", "y"', b'", "'), 'what stands between two tags is none')

    @holds(known=st.binary(max_size=60))
    def test_any_field_can_be_read(self, known: bytes) -> None:
        """Any field value can be parsed; a tag that is not listed matches only `*`."""
        tag = compute_etag(b'body')
        self.assertEqual(matches_if_none_match(known, tag), known.strip() == b'*')


class CodingTests(SynchronousTestCase):
    def test_clients_that_take_gzip(self) -> None:
        """Acceptance of gzip follows the quality values."""
        for field in (b'gzip', b'deflate, gzip', b'GZIP;q=0.5', b'*', b'x-gzip', b'gzip; q=1.0 , identity;q=0.5',
                      b'br;q=1, gzip;q=0.8, *;q=0.1', b'identity;q=0, *', b'gzip ;q=0.001'):  # fmt: skip
            self.assertTrue(accepts_gzip(field), field)
        self.assertFalse(accepts_gzip(None))
        for field in (b'gzip, *;q=0', b'gzip;q=0.5, identity;q=0.5', b'x-gzip, *;q=0', b'*;q=0.1', b'gzip; Q=1'):
            self.assertTrue(accepts_gzip(field), field)
        for field in (b'', b'identity', b'gzip;q=0', b'gzip;q=0.000', b'br', b'*;q=0', b'gzip;q=0, *;q=1',
                      b'gzip;q=0.5, identity', b'gzip;q=nan', b'gzip;q=-1', b'gzip;q=2', b'gzip;q=', b'gzip;x=1',
                      b'gzipped', b'gzip;q=0.4;q=1'):  # fmt: skip
            self.assertFalse(accepts_gzip(field), field)

    def test_what_shrinks(self) -> None:
        """All kinds of text are compressed, but not compressed formats or event streams."""
        for content_type in (b'application/json', b'text/html; charset=utf-8', b'application/problem+json', b'TEXT/XML',
                             b'application/soap+xml', b'image/svg+xml', b'application/x-ndjson'):  # fmt: skip
            self.assertTrue(is_compressible(content_type), content_type)
        for content_type in (b'', b'image/png', b'application/zip', b'application/octet-stream', b'video/mp4',
                             b'text/event-stream', b'application/pdf', b'texture/x'):  # fmt: skip
            self.assertFalse(is_compressible(content_type), content_type)
