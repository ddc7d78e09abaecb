"""User name and password in an XML body: one text each, or nobody is admitted."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.internals import InternalTestCase
from zatotx.model.errors import Unauthorized
from zatotx.model.message import ChannelSpec, Message, Principal
from zatotx.pipeline.security.authentication_policy import AuthenticationPolicy
from zatotx.pipeline.security.secret_comparison import SecretComparison
from zatotx.schema.security.group import SecurityGroup
from zatotx.schema.snapshot import Snapshot, StoredObject
from zatotx.schema.validation import validate
from zatotx.security.xpath import XPATH, XPath, XPathAuthenticator
from zatotx.testing.fake_authenticator import authenticate
from zatotx.testing.pipeline_doubles import make_message
from zatotx.wire.xml import parser
from zatotx.wire.xml.xpath import Malformed, XPathTextExpression

BODY = b'<r><u>user</u><p>sesame</p></r>'
FIELDS: dict[str, Any] = {'name': 'x', 'username': 'user', 'username_expr': '//u', 'password_expr': '//p',
                          'password': 'sesame'}  # fmt: skip


class PathTests(SynchronousTestCase):
    ROOT = parser.parse_document(
        b'<r xmlns:d="urn:d"><u>user</u><a b="of b">of a</a><two/><two/><e/><deep><u2>x</u2></deep><d:n>of n</d:n></r>'
    )

    def test_one_text(self) -> None:
        """Of an element, an attribute, a text, or what a function makes of them."""
        for expression, expected in (
            ('//u', 'user'), ('/r/u', 'user'), ('u', 'user'), ('//a/@b', 'of b'), ('//a/text()', 'of a'),
            ('concat(//u, "!")', 'user!'), ('string(//nothing)', ''), ('//e', ''), ('//*[local-name()="n"]', 'of n'),
            ('//x:n', 'of n'),
        ):
            self.assertEqual(XPathTextExpression(expression, {'x': 'urn:d'}).find(self.ROOT), expected, expression)

    def test_none_and_several(self) -> None:
        """Are nothing; nor is an element that has more in it."""
        for expression in ('//nothing', '//two', '//u | //a', '//deep', '/'):
            self.assertIsNone(XPathTextExpression(expression).find(self.ROOT), expression)

    def test_elements_that_somebody_holds(self) -> None:
        """Are no others: headers of SOAP are held, as objects of lxml.objectify, before anybody is let in."""
        held = self.ROOT.getchildren()
        self.assertEqual([XPathTextExpression(expression).find(self.ROOT) for expression in ('//u', '//two', '//deep')],
                         ['user', None, None])
        self.assertEqual(held[0].text, 'user')

    def test_what_is_no_expression(self) -> None:
        """Is told when the definition is made, unknown functions and prefixes too: nothing but XPath's own is there,
        and no file is ever opened. A document's own prefixes mean nothing."""
        for expression in ('//u[', '', 'count(//u)', 'true()', '//u = "x"', '$x', 'document("/etc/passwd")',
                           're:test(//u, "a")', '//d:n', 'exslt:node-set(//u)', '//u'.ljust(20, '/')):
            self.assertRaises(Malformed, XPathTextExpression, expression)
        for expression in ('//wsse:Username', '//soap:Body//u', '//soap12:Body'):
            XPathTextExpression(expression)


class CheckTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.guesses = SecretComparison(self.clock)
        self.offloaded = 0
        self.guard = AuthenticationPolicy({'xpath': self.make})
        self.apply(XPath(**FIELDS, roles=['r']), XPath(**{**FIELDS, 'name': 'attribute', 'username': 'a',
                                                          'username_expr': '/r/@u', 'password_expr': '/r/@p'}),
                   XPath(**{**FIELDS, 'name': 'empty', 'password': ''}))  # fmt: skip

    def make(self, stored: StoredObject) -> XPathAuthenticator:
        return XPathAuthenticator(self.guesses, self.offload, stored)

    def apply(self, *values: XPath) -> None:
        group = SecurityGroup(name='all', members=[value.name for value in values])
        self.guard.apply(Snapshot(1, [*(StoredObject(n, 'xpath', value, 1) for n, value in enumerate(values)),
                                      StoredObject(99, 'security_group', group, 1)]))

    def offload(self, function: Any, *args: Any) -> Deferred[Any]:
        self.offloaded += 1
        return succeed(function(*args))

    def check(self, body: bytes | None, security: str | None = 'x', groups: tuple[str, ...] = ()
              ) -> Deferred[Principal]:
        inbound: Message = make_message(body or b'', channel=ChannelSpec(
            name='c', kind='http-soap', service='s', data_format='xml', security=security, groups=groups))
        if body is not None:
            inbound.parsed = parser.parse_document(body)
        return Deferred.fromCoroutine(authenticate(self.guard, inbound))

    def test_admitted(self) -> None:
        """By its own name, with its roles."""
        principal = self.successResultOf(self.check(BODY))
        self.assertEqual(principal, Principal('x', 'user', 'xpath', {}, frozenset({'r'})))

    def test_refused(self) -> None:
        """With Zato's challenge: wrong, missing, twice, in pieces, no XML at all, no password yet."""
        for body in (
            b'<r><u>user</u><p>x</p></r>', b'<r><u>User</u><p>sesame</p></r>', b'<r><u>user</u></r>', b'<r/>',
            b'<r><u>user</u><p>sesame</p><p>x</p></r>', b'<r><u>x</u><u>user</u><p>sesame</p></r>',
            b'<r><u>us<b/>er</u><p>sesame</p></r>', b'<r><u>users</u><p>esame</p></r>', None,
        ):  # fmt: skip
            error = self.failureResultOf(self.check(body), Unauthorized).value
            self.assertEqual((error.headers, error.details),
                             (((b'WWW-Authenticate', b'zato-xpath'),), Unauthorized.default_message))
        for body in (BODY, b'<r><u>user</u><p></p></r>'):
            self.failureResultOf(self.check(body, 'empty'), Unauthorized)

    def test_pieces_are_read_together(self) -> None:
        """What a comment cuts in two is one text: nobody gets in by the first half of it, and nobody is kept out."""
        for user in (b'us<!-- -->er', b'<![CDATA[us]]>er', b'<?p?>user<!-- -->', b'u<![CDATA[]]>ser'):
            self.assertEqual(self.successResultOf(self.check(BODY.replace(b'user', user))).name, 'x', user)
        for user in (b'user<!-- -->.evil', b'user<![CDATA[.evil]]>', b'<![CDATA[user]]><?p?>.evil'):
            self.failureResultOf(self.check(BODY.replace(b'user', user)), Unauthorized)

    def test_a_large_document_in_a_thread(self) -> None:
        """Searching it takes time that others would wait."""
        large = BODY.replace(b'<r>', b'<r>' + b'<i>x</i>' * 40_000)
        self.assertEqual(self.successResultOf(self.check(large)).name, 'x')
        self.failureResultOf(self.check(large.replace(b'sesame', b'x')), Unauthorized)
        self.assertEqual(self.offloaded, 2)

    def test_in_a_group(self) -> None:
        """All are asked: only its own expressions say what a definition looks at."""
        self.assertEqual(self.successResultOf(self.check(BODY, None, ('all',))).name, 'x')
        body = b'<r u="a" p="sesame"/>'
        self.assertEqual(self.successResultOf(self.check(body, None, ('all',))).name, 'attribute')
        self.failureResultOf(self.check(b'<r/>', None, ('all',)), Unauthorized)

    def test_guessers_are_slowed_down(self) -> None:
        """As with any other secret: the right one is not looked at before the delay either, in a large document too."""
        for number in range(21):
            self.failureResultOf(self.check(BODY.replace(b'sesame', b'%d' % number)), Unauthorized)
        wrong = self.check(BODY.replace(b'sesame', b'guess'))
        right = [self.check(BODY), self.check(BODY.replace(b'<r>', b'<r>' + b'<i>x</i>' * 40_000))]
        for waiting in (wrong, *right):
            self.assertNoResult(waiting)
        self.clock.advance(8)
        self.failureResultOf(wrong, Unauthorized)
        for waiting in right:
            self.assertEqual(self.successResultOf(waiting).name, 'x')


class DefinitionTests(InternalTestCase):
    """zato.security.xpath.*"""

    async def test_zatos_words(self) -> None:
        """Its fields, and its word for the type."""
        made = await self.call('zato.security.xpath.create', {
            'cluster_id': 1, 'name': 'x', 'is_active': True, 'username': 'u', 'username_expr': '//c:u',
            'password_expr': '//p', 'namespaces': {'c': 'urn:crm'},
        })  # fmt: skip
        await self.call('zato.security.xpath.change-password', {**made, 'password1': 'p', 'password2': 'p'})
        (row,) = await self.call('zato.security.get-list', {'cluster_id': 1})
        self.assertEqual((row['sec_type'], row['username_expr'], row['namespaces']),
                         ('xpath_sec', '//c:u', {'c': 'urn:crm'}))
        told = await self.refusal('zato.security.xpath.edit', {'id': made['id'], 'namespaces': {}}, 400)
        self.assertIn('$.username_expr: is no XPath 1.0 that can be used here: Undefined namespace prefix', told)

    def test_mistakes(self) -> None:
        """Both expressions at once."""
        _, mistakes = validate(XPATH, {**FIELDS, 'username_expr': '//[', 'password_expr': 'count(//p)'})
        self.assertEqual([path for path, _ in mistakes], ['username_expr', 'password_expr'])
