"""Tests of redirects: where they lead, what goes along, and what is no redirect."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.rules.http.redirects import (
    REDIRECT_STATUSES,
    RedirectedRequest,
    RedirectError,
    RedirectTarget,
    follow_redirect,
    is_body_field,
    is_credential_field,
    parse_redirect_target,
)

HERE = RedirectTarget(True, 'a', 443, '/x/y?z')


def follow(status: int, method: str, location: bytes = b'/b', *, has_body: bool = False,
           place: RedirectTarget = HERE) -> RedirectedRequest:
    return follow_redirect(status, method, place, location, has_body=has_body)


class TargetTests(SynchronousTestCase):
    def test_urls(self) -> None:
        """Scheme, host, port and target are read; the default port is not shown; user and fragment are dropped."""
        for url, target, shown in (
            ('http://a', RedirectTarget(False, 'a', 80), 'http://a/'),
            ('HTTPS://A:443/b?c#d', RedirectTarget(True, 'a', 443, '/b?c'), 'https://a/b?c'),
            ('http://u:p@a:8080/', RedirectTarget(False, 'a', 8080), 'http://a:8080/'),
            ('https://[::1]:80?x', RedirectTarget(True, '::1', 80, '/?x'), 'https://[::1]:80/?x'),
            ('http://%61:443', RedirectTarget(False, 'a', 443), 'http://a:443/'),
        ):  # fmt: skip
            self.assertEqual((parse_redirect_target(url), parse_redirect_target(url).url), (target, shown))
        for url, why in (('ftp://a', 'is to a URL that is not of http or https'), ('//a', 'not of http or https'),
                         ('http://', 'is to something that is no URL'), ('http://a:x', 'that is no URL'),
                         ('http://a:99999', 'that is no URL'), ('http://[::1', 'that is no URL')):  # fmt: skip
            self.assertIn(why, str(self.assertRaises(RedirectError, parse_redirect_target, url)))

    def test_origins(self) -> None:
        """Scheme, host and port make an origin."""
        for other, same in ((RedirectTarget(True, 'a', 443), True), (RedirectTarget(False, 'a', 443), False),
                            (RedirectTarget(True, 'b', 443), False), (RedirectTarget(True, 'a', 444), False)):
            self.assertEqual(HERE.same_origin(other), same)


class FollowTests(SynchronousTestCase):
    def test_methods(self) -> None:
        """303 makes everything but HEAD a GET, 301 and 302 only POST; what keeps its method keeps its body."""
        self.assertEqual(REDIRECT_STATUSES, {301, 302, 303, 307, 308})
        for status in REDIRECT_STATUSES:
            for method in ('GET', 'HEAD', 'POST', 'PUT'):
                to_get = method != 'HEAD' if status == 303 else method == 'POST' and status < 303
                self.assertEqual(follow(status, method), RedirectedRequest(
                    'GET' if to_get else method, RedirectTarget(True, 'a', 443, '/b'), not to_get, True))  # fmt: skip

    def test_locations(self) -> None:
        """Locations are relative to the URL; characters that URLs do not have are encoded, escapes are kept."""
        for location, url in ((b'b', 'https://a/x/b'), (b'?q', 'https://a/x/y?q'), (b'//b:1/c', 'https://b:1/c'),
                              ('/\u00e9 %20'.encode(), 'https://a/%C3%A9%20%20'), (b'/' + b'x' * 8191, None),
                              (b"/!#$", 'https://a/!'), (b'/a;b=c,d~e*f()', 'https://a/a;b=c,d~e*f()')):  # fmt: skip
            found = follow(302, 'GET', location).target
            self.assertEqual(found.url, url or f'https://a{location.decode()}')
        self.assertFalse(follow(302, 'GET', b'//b/').keeps_credentials)
        for location, why in ((b'', 'has a Location of no length, or of more than 8192 bytes'),
                              (b'/' + b'x' * 8192, 'of no length, or of more than 8192 bytes'),
                              (b'//[', 'is to something that is no URL')):  # fmt: skip
            self.assertIn(why, str(self.assertRaises(RedirectError, follow, 302, 'GET', location)))

    def test_bodies_stay_in_tls(self) -> None:
        """A body that was sent by TLS is not sent in the clear."""
        plain = b'http://a/'
        said = str(self.assertRaises(RedirectError, follow, 307, 'POST', plain, has_body=True))
        self.assertEqual(said, 'would send in the clear a body that was meant for TLS')
        self.assertEqual(follow(307, 'POST', plain).target.url, 'http://a/')
        self.assertEqual(follow(303, 'POST', plain, has_body=True).method, 'GET')
        self.assertTrue(follow(307, 'POST', has_body=True).keeps_body)
        http = parse_redirect_target('http://a/')
        self.assertTrue(follow(307, 'POST', plain, has_body=True, place=http).keeps_body)

    def test_fields(self) -> None:
        """Credentials and fields of the body are told by their names."""
        for name in (b'Authorization', b'COOKIE', b'cookie2', b'proxy-authorization', b'x-zato-user',
                     b'x-zato-password', b'x-api-key', b'apikey', b'my_api_key', b'x-token', b'x-secret-1',
                     b'x-password', b'x-auth', b'x-session', b'x-signature'):  # fmt: skip
            self.assertTrue(is_credential_field(name), name)
        for name in (b'accept', b'user-agent', b'x-key', b'set-cookie2'):
            self.assertFalse(is_credential_field(name), name)
        for name in (b'Content-Type', b'transfer-encoding', b'EXPECT', b'digest', b'trailer'):
            self.assertTrue(is_body_field(name), name)
        self.assertFalse(is_body_field(b'x-content-type'))
