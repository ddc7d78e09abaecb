"""Masking the secrets of URLs."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.wire.url_masking import UNREADABLE, mask_request_target, mask_url, mask_urls


class UrlTests(SynchronousTestCase):
    def test_one_url(self) -> None:
        """Passwords are masked before the host and in the query; the rest is unchanged."""
        for url, masked in (
            ('postgresql://me:sEcReT@host/db', 'postgresql://me:***@host/db'),
            ('redis://:sEcReT@[::1]:6379/0', 'redis://:***@[::1]:6379/0'),
            ('mysql://host/db?user=me&password=sEcReT&ssl_key_password=sEcReT',
             'mysql://host/db?user=me&password=***&ssl_key_password=***'),
            ('mysql://host/db?pass%77ord=sEcReT', 'mysql://host/db?pass%77ord=***'),
            ('postgresql://me@host:5432/db', 'postgresql://me@host:5432/db'),
            ('sqlite:////a@b/c.db', 'sqlite:////a@b/c.db'),
        ):  # fmt: skip
            self.assertEqual(mask_url(url), masked)

    def test_an_ambiguous_url_is_not_shown(self) -> None:
        """A password with an unescaped delimiter, or without a scheme or host, is not shown as another part."""
        for url in ('me:sEcReT@host', 'postgresql://me:p@sEcReT@host/db', 'mysql://me:12/sEcReT@host/db?x=y',
                    'postgresql://me:sEcReT'):  # fmt: skip
            self.assertEqual(mask_url(url), UNREADABLE)

    def test_urls_in_a_text(self) -> None:
        """All URLs of a text are masked."""
        self.assertEqual(
            mask_urls('no route from http://u:p@h/x?api_key=1&a=2 to amqp://:p@h'),
            'no route from http://u:***@h/x?api_key=***&a=2 to amqp://:***@h',
        )


class RequestTargetTests(SynchronousTestCase):
    def test_masking_leaves_the_rest(self) -> None:
        """Masking preserves the path, other parameters, empty values and order."""
        self.assertEqual(mask_request_target(b'/a?x=1&key=2&key=&y'), b'/a?x=1&key=***&key=&y')
        self.assertEqual(mask_request_target(b'/token=1'), b'/token=1')
        self.assertEqual(mask_request_target(b'/a?x=1;y=2&z;api_key=3;4&n=5;6'), b'/a?x=1;y=2&z;api_key=***&n=5;6')
        self.assertEqual(mask_request_target(b'http://u:p@h:1/a@b?x=1'), b'http://***@h:1/a@b?x=1')
        self.assertEqual(mask_request_target(b'http://u@h'), b'http://***@h')
        names = frozenset({'\u017ckey'})
        self.assertEqual(
            mask_request_target('/a?\u017ckey=1&%C5%bCKEY=1&\u017c=1'.encode(), names),
            '/a?\u017ckey=***&%C5%bCKEY=***&\u017c=1'.encode(),
        )
        for target in (b'/a@b', b'http://h/u:p@h', b'*', b'a:1'):
            self.assertEqual(mask_request_target(target), target)
