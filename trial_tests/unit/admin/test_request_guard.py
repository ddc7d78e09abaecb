"""Which requests the web admin serves: Host, Origin, CSRF tokens, cookies, redirects."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.admin import request_guard as guard


class RequestGuardTests(SynchronousTestCase):
    def test_hosts(self) -> None:
        """Addresses, localhost and configured names are known; other names may be DNS rebinding."""
        for host in ('127.0.0.1:8183', 'localhost', '[::1]:8183', '192.0.2.7', 'Admin.Example:8183'):
            self.assertEqual(guard.host_error(host, ['admin.example']), '', host)
        for host in ('evil.example', '', '127.0.0.1.evil.example', '[', 'admin.example.evil'):
            self.assertIn('admin.toml', guard.host_error(host, ['admin.example']), host)

    def test_origins(self) -> None:
        """A change comes from a page of this admin, or from a program that sends no Origin."""
        for origin, site in ((None, None), ('http://h:1', None), ('http://h:1', 'same-origin'), (None, 'none'),
                             ('https://H:1', 'same-origin')):
            self.assertEqual(guard.origin_error('h:1', origin, site), '', (origin, site))
        for origin, site in (('http://h:2', None), ('null', None), ('http://evil', None), ('http://h:1', 'cross-site'),
                             ('http://h:1', 'same-site'), ('http://[', None), ('', None)):
            self.assertNotEqual(guard.origin_error('h:1', origin, site), '', (origin, site))

    def test_csrf_tokens(self) -> None:
        """A token belongs to one session and does not reveal it."""
        token = guard.csrf_token('1.secret')
        self.assertTrue(guard.is_valid_csrf_token('1.secret', token))
        self.assertNotIn('secret', token)
        for secret, presented in (('1.other', token), ('1.secret', token[:-1]), ('1.secret', None), ('1.secret', ''),
                                  ('', guard.csrf_token('')), ('1.secret', 'é')):
            self.assertFalse(guard.is_valid_csrf_token(secret, presented), (secret, presented))

    def test_cookie_names(self) -> None:
        """The cluster is in the name, whatever characters it has; over HTTPS the cookie is bound to the host."""
        first, second = (guard.cookie_name('session', name, is_secure=False) for name in ('a b;é', 'a-b-é'))
        self.assertNotEqual(first, second)
        for name in (first, second):
            self.assertRegex(name, '^[A-Za-z0-9-]+$')
        self.assertTrue(guard.cookie_name('session', 'c', is_secure=True).startswith('__Host-'))

    def test_redirects(self) -> None:
        """A login leads to a page of this admin only."""
        for target in ('/', '/objects/basic_auth?query=x'):
            self.assertTrue(guard.is_safe_redirect(target))
        for target in ('//evil.example', '/\\evil.example', 'https://evil.example', '', '/\tx', '/\\/evil'):
            self.assertFalse(guard.is_safe_redirect(target), target)
