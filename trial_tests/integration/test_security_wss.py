"""WS-Security: what is read of a header, what admits, and that no token admits twice."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha1
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zeep.wsse.username import UsernameToken as ZeepToken

from trial_tests.support.internals import InternalTestCase
from zatotx.model.errors import ServiceUnavailable, Timeout, Unauthorized
from zatotx.model.message import ChannelSpec, Message, Principal
from zatotx.model.soap_message import SoapMessage
from zatotx.pipeline.security.authentication_policy import AuthenticationPolicy
from zatotx.pipeline.security.secret_comparison import SecretComparison
from zatotx.rules.security.wss_validation import MAX_CLOCK_SKEW, NonceCheck, WssTokenRejected, validate_security_header
from zatotx.schema.security.group import SecurityGroup
from zatotx.schema.snapshot import Snapshot, StoredObject
from zatotx.schema.validation import validate
from zatotx.security.wss import WSS, Wss, WssAuthenticator, WssDependencies, wss_requirements
from zatotx.testing.fake_authenticator import authenticate
from zatotx.testing.memory_redis_components import MemoryNonceStore
from zatotx.testing.pipeline_doubles import make_message
from zatotx.wire.soap import envelope as soap
from zatotx.wire.soap.envelope import SOAP_11, SOAP_12, VERSIONS, SoapVersion
from zatotx.wire.soap.ws_security import (
    BASE64,
    DIGEST,
    FAILED_AUTHENTICATION,
    MAX_TOKENS,
    SECURITY,
    TEXT,
    WSSE,
    WSU,
    Malformed,
    SecurityHeader,
    UsernameToken,
    password_digest,
    read_security_header,
    write_security_header,
)
from zatotx.wire.xml import parser

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
NONCE = b'sixteen bytes of'
BODY = b'<a xmlns="urn:a">1</a>'


def at(seconds: float = 0.0) -> str:
    """So many seconds from NOW, as tokens say it."""
    return (NOW + timedelta(seconds=seconds)).strftime('%Y-%m-%dT%H:%M:%S.%fZ')


def token(username: str = 'bank', password: str = 'sesame', *, nonce: bytes = NONCE, created: str | None = None,
          digest: bool = True) -> str:
    """A UsernameToken as a client writes it."""
    created = at() if created is None else created
    kind = TEXT
    if digest:
        password = b64encode(sha1(nonce + created.encode() + password.encode()).digest()).decode()
        kind = DIGEST
    parts = [f'<w:Username>{username}</w:Username><w:Password Type="{kind}">{password}</w:Password>']
    parts += [f'<w:Nonce EncodingType="{BASE64}">{b64encode(nonce).decode()}</w:Nonce>'] if nonce else []
    parts += [f'<u:Created>{created}</u:Created>'] if created else []
    return f'<w:UsernameToken u:Id="T-1">{"".join(parts)}</w:UsernameToken>'


def header(*children: str, attributes: str = '') -> str:
    return f'<w:Security xmlns:w="{WSSE}" xmlns:u="{WSU}" {attributes}>{"".join(children)}</w:Security>'


def envelope(*headers: str, version: SoapVersion = SOAP_11, body: bytes = BODY) -> bytes:
    return soap.write_envelope(version, body, headers=[each.encode() for each in headers])


def security(*headers: str, version: SoapVersion = SOAP_11) -> SecurityHeader | None:
    return read_security_header(
        soap.read_envelope(parser.parse_document(envelope(*headers, version=version))).headers, version
    )


def tokens(*headers: str, version: SoapVersion = SOAP_11) -> tuple[UsernameToken, ...]:
    found = security(*headers, version=version)
    assert found is not None
    return found.tokens


class ReadTests(SynchronousTestCase):
    def malformed(self, *headers: str, version: SoapVersion = SOAP_11) -> str:
        error = self.assertRaises(Malformed, security, *headers, version=version)
        return str(error)

    def test_a_token(self) -> None:
        """All of it, with white space as XML editors put it, in both versions."""
        for version in (SOAP_11, SOAP_12):
            stamp = f'<u:Timestamp><u:Created> {at(-1)}\n</u:Created></u:Timestamp>'
            found = security(header(f'\n  {token()}\n', stamp), version=version)
            assert found is not None
            (one,) = found.tokens
            self.assertEqual((one.username, one.is_digest, one.nonce, one.created, one.created_at),
                             ('bank', True, NONCE, at(), NOW.timestamp()))
            assert found.timestamp is not None
            self.assertEqual((found.timestamp.created_at, found.timestamp.expires_at), (NOW.timestamp() - 1, None))

    def test_the_least_of_it(self) -> None:
        """Text is what a password is by default; nothing else must be there."""
        found = security(header('<w:UsernameToken><w:Username>u</w:Username><w:Password> p </w:Password>'
                                '</w:UsernameToken>'))  # fmt: skip
        self.assertEqual(found, SecurityHeader((UsernameToken('u', ' p ', False),)))
        self.assertNotIn(' p ', repr(found))

    def test_pieces_are_read_together(self) -> None:
        """What a comment or a CDATA section cuts in two is one text, in all parts of a token."""
        whole = token(password='p', digest=False)
        found = tokens(header(whole))
        for part, cut in (
            ('bank', 'ba<!-- -->nk'), ('bank', '<![CDATA[ba]]>nk'), ('>p<', '><?q?>p<!-- --><'),
            (at(), f'<!-- -->{at()[:9]}<![CDATA[{at()[9:]}]]>'), (b64encode(NONCE).decode(), '<!-- -->'.join(
                b64encode(NONCE).decode())),
            ('<w:Password', '<!-- --><w:Password'),
        ):  # fmt: skip
            self.assertEqual(tokens(header(whole.replace(part, cut))), found, cut)
        (hidden,) = tokens(header(whole.replace('bank', 'bank<!-- -->er')))
        self.assertEqual(hidden.username, 'banker')

    def test_whom_it_is_for(self) -> None:
        """A header for another actor is none of ours; ours are those without one, and the versions' own words."""
        for version, ours in ((SOAP_11, ['', 'http://schemas.xmlsoap.org/soap/actor/next']),
                              (SOAP_12, ['', f'{SOAP_12.namespace}/role/next',
                                         f'{SOAP_12.namespace}/role/ultimateReceiver'])):
            attribute, prefix = version.actor.rpartition('}')[2], version.prefix
            for actor in ours:
                self.assertIsNotNone(security(header(token(), attributes=f'{prefix}:{attribute}="{actor}"'),
                                              version=version), actor)
            other = header(token(username='other'), attributes=f'{prefix}:{attribute}="urn:other"')
            self.assertIsNone(security(other, version=version))
            self.assertEqual(tokens(other, header(token()), version=version)[0].username, 'bank')
        self.assertIsNone(security('<x xmlns="urn:x"/>'))
        self.assertIsNone(security())

    def test_only_its_place_counts(self) -> None:
        """A token anywhere else is data: deeper in the header, in another header, in the body."""
        inner = header(token())
        self.assertIsNone(security(f'<x xmlns="urn:x">{inner}</x>'))
        root = parser.parse_document(envelope(body=inner.encode()))
        self.assertIsNone(read_security_header(soap.read_envelope(root).headers, SOAP_11))
        self.malformed(header(f'<x xmlns="urn:x">{token()}</x>'))
        self.malformed(header(header(token())))
        self.malformed(header(f'<w:UsernameToken>{token()}</w:UsernameToken>'))

    def test_what_is_not_known(self) -> None:
        """Is not passed over: whoever does not know it may not act upon the rest."""
        for unknown in ('<w:BinarySecurityToken>x</w:BinarySecurityToken>', '<x xmlns="urn:x"/>', '<Password/>',
                        '<d:Signature xmlns:d="http://www.w3.org/2000/09/xmldsig#"/>',
                        f'<u:Created>{at()}</u:Created>'):
            self.malformed(header(token(), unknown))
            self.malformed(header(token().replace('</w:UsernameToken>', f'{unknown}</w:UsernameToken>')))
            self.malformed(header(token(), f'<u:Timestamp>{unknown}<u:Created>{at()}</u:Created></u:Timestamp>'))

    def test_doubles(self) -> None:
        """Of anything that may be there once: who reads the first one and who reads the last one differ."""
        self.malformed(header(token()), header(token()))
        for part in ('<w:Username>bank</w:Username>', '<w:Password>x</w:Password>', '<w:Nonce>eA==</w:Nonce>',
                     f'<u:Created>{at()}</u:Created>'):
            self.malformed(header(token().replace('</w:UsernameToken>', f'{part}</w:UsernameToken>')))
        stamp = f'<u:Timestamp><u:Created>{at()}</u:Created></u:Timestamp>'
        self.malformed(header(token(), stamp, stamp))
        self.malformed(header(*[token(f'u{n}') for n in range(MAX_TOKENS + 1)]))
        self.assertEqual(len(tokens(header(*[token(f'u{n}') for n in range(MAX_TOKENS)]))), MAX_TOKENS)

    def test_what_is_no_token(self) -> None:
        """Is refused, and nothing of it is said."""
        for odd in (
            '', '<w:UsernameToken/>', '<w:UsernameToken><w:Username>u</w:Username></w:UsernameToken>',
            '<w:UsernameToken><w:Password>p</w:Password></w:UsernameToken>', f'text{token()}', f'{token()}text',
            token().replace('bank', 'ba<x xmlns="urn:x"/>nk'), token().replace(DIGEST, f'{DIGEST}x'),
            token().replace(BASE64, 'urn:hex'), token().replace(b64encode(NONCE).decode(), 'QQ'),
            token().replace(b64encode(NONCE).decode(), 'ž'), token().replace(b64encode(NONCE).decode(), 'Q' * 1000),
            token(created='yesterday'), token(created='2026-05-04'), token(created='2026-13-04T12:00:00Z'),
            token(created='2026-05-04 12:00:00Z'), token(created='2026-05-04T12:00:00Z' + ' ' * 99 + 'x'),
        ):  # fmt: skip
            told = self.malformed(header(odd))
            self.assertNotIn('bank', told)

    def test_times(self) -> None:
        """xs:dateTime with any zone; without one it is UTC."""
        for text in ('2026-05-04T12:00:00Z', '2026-05-04T14:00:00+02:00', '2026-05-04T12:00:00', at(),
                     '2026-05-04T12:00:00.000000001Z'):
            found = security(header(token(created=text)))
            assert found is not None
            self.assertEqual(found.tokens[0].created_at, NOW.timestamp(), text)


class WriteTests(SynchronousTestCase):
    def test_written_as_it_is_read(self) -> None:
        """In both versions and both types; it must be understood."""
        for version in (SOAP_11, SOAP_12):
            for digest in (False, True):
                made = UsernameToken('b<a>&"nk', 's]]>e', digest, NONCE, at(), NOW.timestamp())
                root = parser.parse_document(envelope(write_security_header(made, version).decode(), version=version))
                parts = soap.read_envelope(root)
                found = read_security_header(parts.headers, version)
                assert found is not None
                expected = password_digest(NONCE, at(), b's]]>e').decode() if digest else 's]]>e'
                self.assertEqual(found.tokens, (UsernameToken('b<a>&"nk', expected, digest, NONCE, at(),
                                                              NOW.timestamp()),))
                self.assertEqual([one.tag for one in soap.mandatory_headers(parts)], [SECURITY])
                self.assertEqual(found.tokens[0].password, expected)

    def test_the_digest_of_the_profile(self) -> None:
        """Base64 of SHA-1 over nonce, creation and password: as zeep makes it."""
        made = ZeepToken('u', 'sesame', use_digest=True, nonce='abc', created=NOW)
        parts = {part.tag.rpartition('}')[2]: part.text for part in made._create_password_digest()}
        self.assertEqual(parts['Password'], password_digest(b'abc', parts['Created'], b'sesame').decode())


class JudgeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = NOW.timestamp()

    def judge(self, *children: str, **fields: Any) -> NonceCheck:
        values = {'name': 'w', 'username': 'bank', 'password': 'sesame', 'password_type': 'digest', **fields}
        found = security(header(*children))
        assert found is not None
        return validate_security_header(found, wss_requirements(Wss(**values)), self.now)

    def refused(self, *children: str, **fields: Any) -> WssTokenRejected:
        error = self.assertRaises(WssTokenRejected, self.judge, *children, **fields)
        assert isinstance(error, WssTokenRejected)
        return error

    def test_both_types(self) -> None:
        """Each where the definition has it, and not the other: a digest is not asked for in order to get the text."""
        self.assertEqual(self.judge(token()).nonce, NONCE)
        self.assertEqual(self.judge(token(digest=False), password_type='clear_text').nonce, NONCE)
        self.refused(token(digest=False))
        self.refused(token(), password_type='clear_text')

    def test_wrong_secrets(self) -> None:
        """Are told from what else may be wrong, so that guessers can be slowed down; without a password nobody is
        right."""
        for wrong in (token(password='x'), token(username='other'), token().replace('bank', 'Bank'),
                      token(created=at()).replace(at(), at(1))):
            self.assertTrue(self.refused(wrong).has_wrong_credentials, wrong)
        self.assertTrue(self.refused(token(password=''), password='').has_wrong_credentials)
        self.assertTrue(
            self.refused(
                token(password='', digest=False), password='', password_type='clear_text'
            ).has_wrong_credentials
        )
        self.assertTrue(
            self.refused(token(password='sesam\u00e9', digest=False), password_type='clear_text').has_wrong_credentials
        )

    def test_several_tokens(self) -> None:
        """Those of others are theirs; two of ours are one too many."""
        others = token('other', 'x'), token('another', 'x', digest=False)
        self.assertEqual(self.judge(others[0], token(), others[1]).nonce, NONCE)
        self.refused(*others)
        self.refused(token(), token(nonce=b'other'))
        self.refused(token(password='wrong'), token())

    def test_nonce_and_creation(self) -> None:
        """Both must be there, unless the definition says otherwise."""
        for lacking in (token(nonce=b''), token(created='')):
            self.refused(lacking)
        self.assertEqual(
            self.judge(token(nonce=b'', created=''), reject_empty_nonce_creat=False), NonceCheck(b'', 3600.0)
        )
        self.assertEqual(self.judge(token(created=''), reject_empty_nonce_creat=False), NonceCheck(NONCE, 3600.0))

    def test_age(self) -> None:
        """Older than the limit is stale, where the definition looks at that; from the future is refused always, a small
        difference of clocks aside."""
        limits = {'reject_expiry_limit': 100}
        self.judge(token(created=at(-100)), **limits)
        self.refused(token(created=at(-100.1)), **limits)
        self.judge(token(created=at(-100_000)), reject_stale_tokens=False)
        self.judge(token(created=at(MAX_CLOCK_SKEW)))
        for fields in ({}, {'reject_stale_tokens': False}):
            self.refused(token(created=at(MAX_CLOCK_SKEW + 1)), **fields)

    def test_timestamp(self) -> None:
        """Of the message: not over, not from the future, not stale, and not the wrong way round."""
        def stamp(created: str = '', expires: str = '') -> str:
            said = ''.join(f'<u:{name}>{text}</u:{name}>' for name, text in
                           (('Created', created), ('Expires', expires)) if text)
            return f'<u:Timestamp>{said}</u:Timestamp>'

        for good in (stamp(), stamp(at(-5), at(5)), stamp(at(MAX_CLOCK_SKEW)), stamp('', at(-MAX_CLOCK_SKEW))):
            self.judge(good, token())
        for bad in (
            stamp(at(MAX_CLOCK_SKEW + 1)),
            stamp(at(-3700), at(5)),
            stamp('', at(-MAX_CLOCK_SKEW - 1)),
            stamp(at(30), at(20)),
        ):
            self.refused(bad, token())

    def test_how_long_a_nonce_is_remembered(self) -> None:
        """As long as the definition says, and at least for as long as its token is good: else it would be good again
        before it is stale."""
        for created, freshness, expected in ((0, 10, 101), (-90, 10, 11), (-99, 10, 10), (50, 10, 151), (0, 500, 500)):
            once = self.judge(token(created=at(created)), reject_expiry_limit=100, nonce_freshness_time=freshness)
            self.assertAlmostEqual(once.ttl, expected, places=3)
        once = self.judge(token(created=at(-999)), reject_stale_tokens=False, nonce_freshness_time=7)
        self.assertEqual(once.ttl, 7.0)

    def test_nothing_secret_is_shown(self) -> None:
        """In no repr."""
        terms = wss_requirements(Wss(name='w', username='bank', password='sesame'))
        self.assertNotIn('sesame', repr(terms))


class CheckTests(SynchronousTestCase):
    """Two servers of a cluster, a guard each."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW.timestamp())
        used: dict[str, float] = {}
        self.nonces = [MemoryNonceStore(self.clock, used) for _ in range(2)]
        self.guards = [self.guard(nonces) for nonces in self.nonces]

    def guard(self, nonces: MemoryNonceStore) -> AuthenticationPolicy:
        means = WssDependencies(SecretComparison(self.clock), nonces, self.clock.seconds)
        guard = AuthenticationPolicy({'wss': lambda stored: WssAuthenticator(means, stored)})
        values = [Wss(name=name, username=user, password='sesame', password_type=kind, roles=[name])
                  for name, user, kind in (('w', 'bank', 'digest'), ('other', 'other', 'digest'),
                                           ('text', 'bank', 'clear_text'))]
        objects = [StoredObject(number, 'wss', value, 1) for number, value in enumerate(values)]
        group = SecurityGroup(name='all', members=['w', 'other', 'text'])
        guard.apply(Snapshot(1, [*objects, StoredObject(9, 'security_group', group, 1)]))
        return guard

    def inbound(self, *headers: str, security: str | None = 'w', groups: tuple[str, ...] = (),
                version: SoapVersion = SOAP_11) -> Message:
        inbound = make_message(channel=ChannelSpec(name='c', kind='http-soap', service='s', data_format='soap',
                                              security=security, groups=groups))
        inbound.parsed = parser.parse_document(envelope(*headers, version=version))
        parts = soap.read_envelope(inbound.parsed)
        inbound.soap = SoapMessage(parts.version.number, '', parts.headers, (), parts.body)
        return inbound

    def check(self, inbound: Message, server: int = 0) -> Deferred[Principal]:
        return Deferred.fromCoroutine(authenticate(self.guards[server], inbound))

    def test_admitted(self) -> None:
        """By its own name, with its roles, in both versions."""
        for number, version in enumerate(VERSIONS.values()):
            made = header(token(nonce=b'%d' % number))
            principal = self.successResultOf(self.check(self.inbound(made, version=version)))
            self.assertEqual(principal, Principal('w', 'bank', 'wss', {}, frozenset({'w'})))

    def test_refused_in_the_words_of_ws_security(self) -> None:
        """Whatever is wrong, the same is told: the challenge zato-wss, and the code of SOAP faults."""
        for headers in ((), ('<x xmlns="urn:x"/>',), (header(token(password='x')),),
                        (header(token(created=at(-9999))),), (header(token(), '<x/>'),),
                        (header(token()), header(token()))):
            error = self.failureResultOf(self.check(self.inbound(*headers)), Unauthorized).value
            self.assertEqual((error.headers, error.details), (((b'WWW-Authenticate', b'zato-wss'),),
                                                              Unauthorized.default_message))
            self.assertEqual(error.soap_subcodes, (FAILED_AUTHENTICATION,))

    def test_a_replay_is_refused(self) -> None:
        """On this server and on the other one, for as long as the token would be good."""
        made = header(token())
        self.successResultOf(self.check(self.inbound(made)))
        for server in (0, 1):
            self.failureResultOf(self.check(self.inbound(made), server), Unauthorized)
        self.clock.advance(3600)
        self.failureResultOf(self.check(self.inbound(made)), Unauthorized)
        self.clock.advance(2)
        self.failureResultOf(self.check(self.inbound(made)), Unauthorized)  # forgotten, and stale
        self.successResultOf(self.check(self.inbound(header(token(created=at(3602))))))

    def test_a_nonce_that_is_written_otherwise(self) -> None:
        """Is the same nonce: its bytes count, not its letters."""
        made = header(token())
        letters = b64encode(NONCE).decode()
        self.successResultOf(self.check(self.inbound(made.replace(letters, f'\n {letters[:8]}\n{letters[8:]} '))))
        self.failureResultOf(self.check(self.inbound(made)), Unauthorized)
        self.failureResultOf(self.check(self.inbound(made.replace(letters, f'\n {letters} '))), Unauthorized)

    def test_nonces_are_a_definitions_own(self) -> None:
        """A nonce that one partner used is new for another one; and what a wrong password came with is not used."""
        self.failureResultOf(self.check(self.inbound(header(token(password='x')))), Unauthorized)
        self.successResultOf(self.check(self.inbound(header(token()))))
        self.successResultOf(self.check(self.inbound(header(token('other')), security='other')))

    def test_redis_is_away(self) -> None:
        """Nobody is let in of whom it cannot be said whether he was here before: 503. Where Redis is stays here."""
        for away in (ServiceUnavailable(None, 'Redis is unavailable'), Timeout(None, 'Redis is late')):
            self.nonces[0].error = away
            error = self.failureResultOf(self.check(self.inbound(header(token()))), ServiceUnavailable).value
            self.assertEqual(str(error), 'Nonces cannot be checked for reuse now')
        self.failureResultOf(self.check(self.inbound(header(token(password='x')))), Unauthorized)
        self.nonces[0].error = None
        self.successResultOf(self.check(self.inbound(header(token()))))

    def test_without_a_nonce(self) -> None:
        """Redis is not asked where there is nothing to remember."""
        guard = self.guards[0]
        value = Wss(name='w', username='bank', password='sesame', reject_empty_nonce_creat=False)
        guard.apply(Snapshot(2, [StoredObject(1, 'wss', value, 2)]))
        self.nonces[0].error = ServiceUnavailable(None, 'Redis is unavailable')
        made = header(token(digest=False, nonce=b'', created=''))
        self.assertEqual(self.successResultOf(self.check(self.inbound(made))).name, 'w')

    def test_in_a_group(self) -> None:
        """The user name says whose token it is; of two definitions with one user each has its say, and of several
        tokens any may admit."""
        def ask(*children: str) -> Deferred[Principal]:
            return self.check(self.inbound(header(*children), security=None, groups=('all',)))

        self.assertEqual(self.successResultOf(ask(token('other'))).name, 'other')
        self.assertEqual(self.successResultOf(ask(token(digest=False, nonce=b'a'))).name, 'text')
        self.assertEqual(self.successResultOf(ask(token('stranger'), token('other', nonce=b'b'))).name, 'other')
        for wrong in (token('stranger'), token(password='x'), '<x/>'):
            self.failureResultOf(ask(wrong), Unauthorized)

    def test_guessers_are_slowed_down(self) -> None:
        """As with any other secret: the right one is not looked at before the delay either."""
        for number in range(21):
            self.failureResultOf(self.check(self.inbound(header(token(password=f'guess {number}')))), Unauthorized)
        wrong, right = (self.check(self.inbound(header(token(password=each)))) for each in ('guess', 'sesame'))
        self.assertNoResult(wrong)
        self.assertNoResult(right)
        self.clock.advance(8)
        self.failureResultOf(wrong, Unauthorized)
        self.assertEqual(self.successResultOf(right).name, 'w')

    def test_an_envelope_on_a_channel_of_xml(self) -> None:
        """Is read likewise; what is no envelope has no token."""
        for root, expected in (
            (parser.parse_document(envelope(header(token()))), True),
            (parser.parse_document(BODY), False),
            (None, False),
        ):
            inbound = make_message(channel=ChannelSpec(name='c', kind='http-soap', service='s', security='w'))
            if root is not None:
                inbound.parsed = root
            check = self.check(inbound)
            if expected:
                self.assertEqual(self.successResultOf(check).name, 'w')
            else:
                self.failureResultOf(check, Unauthorized)


class DefinitionTests(InternalTestCase):
    """zato.security.wss.*"""

    async def test_zatos_words(self) -> None:
        """The fields that Zato's API has, as text; the password comes later."""
        made = await self.call('zato.security.wss.create', {
            'cluster_id': '1', 'name': 'w', 'is_active': 'true', 'username': 'bank', 'password_type': 'clear_text',
            'reject_empty_nonce_creat': 'true', 'reject_stale_tokens': 'false', 'reject_expiry_limit': '60',
            'nonce_freshness_time': '120',
        })  # fmt: skip
        await self.call('zato.security.wss.change-password', {**made, 'password1': 'sesame', 'password2': 'sesame'})
        (row,) = await self.call('zato.security.wss.get-list', {'cluster_id': 1})
        self.assertEqual({**row, 'revision': 0}, {
            'id': made['id'], 'name': 'w', 'is_active': True, 'roles': [], 'username': 'bank',
            'password_type': 'clear_text', 'reject_empty_nonce_creat': True, 'reject_stale_tokens': False,
            'reject_expiry_limit': 60, 'nonce_freshness_time': 120, 'revision': 0,
        })  # fmt: skip
        await self.one.config.wait_until_applied(self.one.config.snapshot.revision)
        self.assertEqual(self.two.config.snapshot.find('wss', 'w').value.password, 'sesame')

    def test_mistakes(self) -> None:
        """Times and types that make no sense."""
        for fields, path in (({'password_type': 'x'}, 'password_type'), ({'reject_expiry_limit': 0},
                              'reject_expiry_limit'), ({'nonce_freshness_time': 10**9}, 'nonce_freshness_time'),
                             ({'username': ''}, 'username')):
            _, mistakes = validate(WSS, {'name': 'w', 'username': 'u', **fields})
            self.assertEqual([found for found, _ in mistakes], [path])
        value, _ = validate(WSS, {'name': 'w', 'username': 'u', 'password_type': 'PasswordDigest'})
        self.assertEqual(value.password_type, 'digest')
