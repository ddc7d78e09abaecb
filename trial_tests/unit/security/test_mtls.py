"""Authentication by client certificate: which certificates are accepted, why, and until when."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.authority import Authority
from trial_tests.support.issuing import ANY, CLIENT, HOUR, NOW, SERVER, Issued, Issuer, self_signed
from zatotx.model.errors import Unauthorized
from zatotx.model.message import ChannelSpec, Message, Principal
from zatotx.pipeline.security.authentication_policy import AuthenticationPolicy
from zatotx.pipeline.security.authenticator import ANY_DEFINITION
from zatotx.rules.security.client_certificate_validation import MAX_CERTIFICATES
from zatotx.schema.snapshot import Snapshot, StoredObject
from zatotx.schema.validation import validate
from zatotx.security.basic_auth import BasicAuth
from zatotx.security.mtls import CHALLENGE, MTLS, Mtls
from zatotx.security.mtls.authenticator import MtlsAuthenticator
from zatotx.testing.fake_authenticator import FieldAuthenticator
from zatotx.testing.log_recorder import LogRecorder
from zatotx.testing.pipeline_doubles import make_message
from zatotx.wire.certificates import is_same_name, parse_alternative_name, parse_certificate_name, parse_name
from zatotx.wire.malformed import Malformed

SECURED = ChannelSpec(name='test', kind='http-soap', service='s', security='partner')
BANK = Issuer('Bank CA')
OTHER = Issuer('Bank CA')  # the same name, another key
PARTNER = BANK.issue()


def definition(revision: int = 1, **fields: Any) -> StoredObject:
    values = {'name': 'partner', 'subject': 'CN=partner,O=Bank', 'ca': BANK.pem, **fields}
    return StoredObject(1, 'mtls', Mtls(**values), revision)


def from_client(*sent: Issued) -> Message:
    """Return a request on a connection whose client sent these certificates."""
    inbound = make_message(channel=SECURED)
    assert inbound.http is not None
    inbound.http.certificates = tuple(each.der for each in sent)
    return inbound


class MtlsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = NOW
        self.log = LogRecorder()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)

    def check(self, **fields: Any) -> MtlsAuthenticator:
        return MtlsAuthenticator(definition(**fields), lambda: self.now)

    def refused(self, check: MtlsAuthenticator, *sent: Issued, why: str) -> None:
        """All rejected certificates get the same response, and the reason is in the log only."""
        self.log.records.clear()
        error = self.assertRaises(Unauthorized, check.check, from_client(*sent))
        self.assertEqual((error.challenge, error.details), (CHALLENGE, Unauthorized.default_message))
        said = self.log.messages(logging.DEBUG)
        self.assertIn(why, said[-1])
        self.assertEqual(len(said), 1)


class AcceptedTests(MtlsTestCase):
    def test_principal(self) -> None:
        """A certificate of the right authority and subject is accepted, and its fields are on the principal."""
        principal = self.check(roles=['partner']).check(from_client(PARTNER))
        self.assertEqual((principal.name, principal.username, principal.kind), ('partner', 'CN=partner,O=Bank', 'mtls'))
        self.assertEqual(principal.roles, {'partner'})
        self.assertEqual(principal.claims['fingerprint'], PARTNER.fingerprint)
        self.assertEqual(principal.claims['issuer'], 'CN=Bank CA')

    def test_seen_before(self) -> None:
        """A certificate is verified once; the same principal is returned until it expires."""
        check = self.check()
        first = check.check(from_client(PARTNER))
        self.now = NOW + HOUR - 1
        self.assertIs(check.check(from_client(PARTNER)), first)
        self.now = NOW + HOUR
        self.refused(check, PARTNER, why='it has expired')

    def test_a_changed_definition_forgets(self) -> None:
        """After a change of the definition, certificates are verified again, also on open connections."""
        guard = AuthenticationPolicy({'mtls': lambda stored: MtlsAuthenticator(stored, lambda: self.now)})
        guard.apply(Snapshot(1, [definition()]))
        same_connection = from_client(PARTNER)
        self.assertIsInstance(guard.check(same_connection), Principal)
        guard.apply(Snapshot(2, [definition(2, crl=BANK.revoked(PARTNER))]))
        self.assertRaises(Unauthorized, guard.check, same_connection)
        guard.apply(Snapshot(3, [definition(3, is_active=False)]))
        self.assertRaises(Unauthorized, guard.check, same_connection)

    def test_any_of_an_authority(self) -> None:
        """A definition with only an authority accepts every certificate signed by it."""
        check = self.check(subject='')
        check.check(from_client(BANK.issue('CN=anybody')))
        self.refused(check, OTHER.issue('CN=anybody'), why='not signed by the authority')

    def test_keys(self) -> None:
        """RSA from 2048 bits, Ed25519 and elliptic curves are accepted."""
        check = self.check()
        for key in (rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()):
            check.check(from_client(BANK.issue(key=key)))
        weak = BANK.issue(key=rsa.generate_private_key(65537, 1024))
        self.refused(check, weak, why='RSA key of 1024 bits')

    def test_uses(self) -> None:
        """A certificate without extended key usage is accepted; otherwise it must include client authentication or
        any."""
        check = self.check()
        for good in ((), (CLIENT,), (ANY,), (SERVER, CLIENT)):
            check.check(from_client(BANK.issue(uses=good)))
        self.refused(check, BANK.issue(uses=[SERVER]), why='not made for clients')

    def test_several_authorities(self) -> None:
        """`ca` may contain several certificates, for a change of the authority."""
        check = self.check(ca=BANK.pem + Issuer('Next CA').pem + OTHER.pem)
        check.check(from_client(PARTNER))
        check.check(from_client(OTHER.issue()))

    def test_an_authority_that_was_renewed(self) -> None:
        """An expired certificate of the authority next to the new one does no harm, in either order."""
        old, new = BANK.renewed(begins=-2 * HOUR, ends=-HOUR), BANK.renewed()
        for both in (old + new, new + old):
            self.check(ca=both).check(from_client(PARTNER))
        self.refused(self.check(ca=old), PARTNER, why='one that signed it has expired')

    def test_of_the_support(self) -> None:
        """A certificate without extended key usage from the other tests' authority is accepted."""
        authority = Authority(Path(self.mktemp()))
        certificate, _key = authority.sign('partner')
        own = Issued(x509.load_pem_x509_certificate(certificate.read_bytes()), None)
        self.check(subject='CN=partner', ca=authority.path.read_text()).check(from_client(own))


class ChainTests(MtlsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.below = Issuer('Branch CA', above=BANK)
        self.own = self.below.issue()

    def test_authorities_below(self) -> None:
        """Intermediates sent by the client are used; missing ones cause a rejection."""
        check = self.check()
        self.refused(check, self.own, why='not signed by an authority that is trusted')
        check.check(from_client(self.own, self.below.own))
        check.check(from_client(self.own))

    def test_the_one_below_is_named(self) -> None:
        """A definition may name an intermediate: other certificates of the root are rejected."""
        check = self.check(ca=self.below.pem)
        check.check(from_client(self.own))
        self.refused(check, PARTNER, why='not signed by an authority that is trusted')

    def test_order_and_company(self) -> None:
        """Additional certificates may be in any order and include unrelated ones."""
        deep = Issuer('Desk CA', above=self.below)
        self.check().check(from_client(deep.issue(), self.below.own, OTHER.own, deep.own))

    def test_no_authority(self) -> None:
        """Client certificates sign no others; path length 0 allows no intermediates; a CA for servers issues no
        clients."""
        leaf = Issuer.__new__(Issuer)
        leaf._key, leaf._name = PARTNER.key, PARTNER.certificate.subject
        forged = leaf.issue('CN=partner,O=Bank')
        self.refused(self.check(), forged, PARTNER, why='')
        short = Issuer('Short CA', length=0)
        between = Issuer('Too deep CA', above=short)
        self.refused(self.check(ca=short.pem), between.issue(), between.own, why='')
        servers = Issuer('Servers CA', above=BANK, uses=[SERVER])
        self.refused(self.check(), servers.issue(), servers.own, why='not made for clients')

    def test_an_authority_that_has_expired(self) -> None:
        """An expired intermediate or root causes a rejection."""
        self.now = NOW + 10 * 24 * HOUR
        own = BANK.issue(ends=30 * 24 * HOUR)
        self.refused(self.check(), own, why='one that signed it has expired')

    def test_remembered_until_the_first_of_a_chain_ends(self) -> None:
        """The cache entry expires with the first certificate of the chain."""
        own = self.below.issue(ends=30 * 24 * HOUR)
        check = self.check()
        check.check(from_client(own, self.below.own))
        self.now = NOW + 10 * 24 * HOUR
        self.refused(check, own, self.below.own, why='one that signed it has expired')

    def test_too_many(self) -> None:
        """A client that sends too many certificates is rejected without verification."""
        self.refused(self.check(), self.own, *[self.below.own] * MAX_CERTIFICATES, why='more than 10')

    def test_a_signature_that_is_broken(self) -> None:
        """A certificate changed after signing is rejected."""
        der = bytearray(PARTNER.der)
        der[-1] ^= 1
        inbound = from_client(PARTNER)
        assert inbound.http is not None
        inbound.http.certificates = (bytes(der),)
        self.assertRaises(Unauthorized, self.check().check, inbound)

    def test_bytes_that_are_none(self) -> None:
        """Bytes that are not a certificate are rejected, although TLS would not accept them either."""
        for junk in (b'', b'\x30\x80', PARTNER.der[:-1], PARTNER.der + b'\0'):
            inbound = from_client(PARTNER)
            assert inbound.http is not None
            inbound.http.certificates = (junk,)
            self.assertRaises(Unauthorized, self.check().check, inbound)


class RefusedTests(MtlsTestCase):
    def test_none_sent(self) -> None:
        """Requests without a certificate, without TLS or not over HTTP are rejected."""
        check = self.check()
        self.assertEqual(self.assertRaises(Unauthorized, check.check, from_client()).challenge, CHALLENGE)
        elsewhere = from_client(PARTNER)
        elsewhere.http = None
        self.assertRaises(Unauthorized, check.check, elsewhere)
        self.assertEqual([check.extract_key(each) for each in (from_client(), elsewhere, from_client(PARTNER))],
                         [None, None, ANY_DEFINITION])  # fmt: skip

    def test_wrong_authority(self) -> None:
        """The right subject from another authority, even with the same name, or self-signed, is rejected."""
        check = self.check()
        self.refused(check, OTHER.issue(), why='not signed by the authority that it names')
        self.refused(check, OTHER.issue(), OTHER.own, why='')
        self.refused(check, Issuer('Other CA').issue(), why='not signed by an authority that is trusted')
        self.refused(check, self_signed(), why='signed by itself')
        self.refused(check, self_signed(), BANK.own, why='signed by itself')

    def test_not_at_this_time(self) -> None:
        """Expired and not yet valid certificates are rejected."""
        check = self.check()
        self.refused(check, BANK.issue(begins=-2 * HOUR, ends=-1), why='it has expired')
        self.refused(check, BANK.issue(begins=1), why='it is not valid yet')
        self.now = NOW + 1
        check.check(from_client(BANK.issue(begins=1)))

    def test_another_subject(self) -> None:
        """Different, longer, shorter and differently capitalized subjects are rejected."""
        check = self.check()
        for subject in ('CN=partner', 'CN=partner,O=Bank,C=PL', 'CN=Partner,O=Bank', 'CN=partner,OU=Bank',
                        'CN=partner+O=Bank', 'CN=Bank,O=partner', 'O=Bank'):  # fmt: skip
            self.refused(check, BANK.issue(subject), why='another subject')

    def test_alternative_names(self) -> None:
        """One of the definition's names must be in the certificate exactly; all four kinds are supported."""
        check = self.check(san=['api.partner.example', 'spiffe://partner/api', '10.1.2.3', 'email:Api@partner.example'])
        for good in ('DNS:API.partner.example', 'URI:spiffe://partner/api', 'IP:10.1.2.3', 'email:Api@Partner.example'):
            check.check(from_client(BANK.issue(names=['DNS:x.example', good])))
        for other in ('DNS:partner.example', 'DNS:*.partner.example', 'URI:spiffe://partner/API', 'IP:10.1.2.4',
                      'email:api@partner.example', 'URI:api.partner.example', 'DNS:10.1.2.3'):  # fmt: skip
            self.refused(check, BANK.issue(names=[other]), why='none of the alternative names')
        self.refused(check, PARTNER, why='none of the alternative names')
        self.refused(check, BANK.issue('CN=api.partner.example,O=Bank'), why='another subject')

    def test_fingerprints(self) -> None:
        """One of the definition's fingerprints must match in addition to its other requirements; or alone, for a
        certificate of any issuer."""
        check = self.check(fingerprint=[PARTNER.fingerprint])
        check.check(from_client(PARTNER))
        self.refused(check, BANK.issue(), why='another fingerprint')
        pinned = self_signed(uses=())
        pairs = [pinned.fingerprint[place : place + 2] for place in range(0, 64, 2)]
        alone = self.check(ca='', fingerprint=['AB' * 32, ':'.join(pairs)])
        alone.check(from_client(pinned))
        self.refused(alone, self_signed(uses=()), why='another fingerprint')
        self.now = NOW + HOUR
        self.refused(alone, pinned, why='it has expired')

    def test_signed_with_a_hash_that_is_broken(self) -> None:
        """Certificates signed with a broken hash are rejected, whatever their fingerprint."""
        signer = Issuer()
        signer._key = rsa.generate_private_key(65537, 2048)
        rsa_with = bytes.fromhex('2a864886f70d0101')  # RFC 8017 appendix A.2.4: the OID goes on with the hash
        for hashed, last in (('md5', b'\4'), ('sha1', b'\5')):
            der = signer.issue().der.replace(rsa_with + b'\x0b', rsa_with + last)
            weak = Issued(x509.load_der_x509_certificate(der), None)
            self.refused(self.check(ca='', fingerprint=[weak.fingerprint]), weak, why=f'it is signed with {hashed}')

    def test_one_certificate_as_authority(self) -> None:
        """A partner's self-signed certificate in `ca` accepts that certificate only."""
        pinned = self_signed(uses=())
        check = self.check(ca=pinned.pem)
        check.check(from_client(pinned))
        self.refused(check, self_signed(), why='')


class RevokedTests(MtlsTestCase):
    def test_revoked(self) -> None:
        """Revoked certificates are rejected, others are not; additional lists do no harm."""
        gone = BANK.issue()
        check = self.check(crl=Issuer('Third CA').revoked() + BANK.revoked(gone))
        self.refused(check, gone, why='was revoked')
        check.check(from_client(PARTNER))

    def test_a_list_that_has_expired(self) -> None:
        """An expired list rejects all certificates, including cached ones, and is logged once until it is replaced."""
        check = self.check(crl=BANK.revoked(ends=60))
        check.check(from_client(PARTNER))
        self.now = NOW + 61
        for _ in range(3):
            self.assertRaises(Unauthorized, check.check, from_client(PARTNER))
        (said,) = self.log.messages(logging.WARNING)
        self.assertIn("'partner' rejects all certificates: its revocation list has expired", said)
        self.assertIn("'partner' rejects certificates signed by CN=Bank CA", next(check.findings()))
        self.now = NOW
        self.assertEqual(list(check.findings()), [])

    def test_a_list_of_the_future(self) -> None:
        """A list that is not valid yet is ignored."""
        self.refused(self.check(crl=BANK.revoked(begins=60)), PARTNER, why='is not valid yet')

    def test_no_list_of_this_authority(self) -> None:
        """If there are lists, but none of the issuer, the certificate is rejected."""
        self.refused(self.check(crl=Issuer('Third CA').revoked()), PARTNER, why='no list of revoked certificates')

    def test_a_list_that_somebody_else_signed(self) -> None:
        """A list in the authority's name signed by another key is ignored."""
        self.refused(self.check(crl=BANK.revoked(by=OTHER)), PARTNER, why='')

    def test_the_newest_list(self) -> None:
        """Of several lists of an authority, the newest is used."""
        gone = BANK.issue()
        old, new = BANK.revoked(begins=-HOUR, ends=-60), BANK.revoked(gone, begins=-60)
        for both in (old + new, new + old):
            check = self.check(crl=both)
            check.check(from_client(PARTNER))
            self.refused(check, gone, why='was revoked')

    def test_authorities_below(self) -> None:
        """Intermediates are checked if there is a list of their issuer."""
        below = Issuer('Branch CA', above=BANK)
        own = below.issue()
        lists = below.revoked()
        self.check(crl=lists).check(from_client(own, below.own))
        self.check(crl=lists + BANK.revoked()).check(from_client(own, below.own))
        self.refused(self.check(crl=lists + BANK.revoked(below.own)), own, below.own, why='was revoked')
        self.refused(self.check(crl=BANK.revoked()), own, below.own, why='no list of revoked certificates')


class NameTests(SynchronousTestCase):
    def test_as_people_write_them(self) -> None:
        """RFC 4514 and OpenSSL's format, in either order, denote the same name."""
        name = parse_certificate_name(BANK.issue('CN=partner,OU=API,O=Bank\\, Inc,C=PL').certificate.subject)
        for text in (
            'CN=partner,OU=API,O=Bank\\, Inc,C=PL', 'C = PL, O = "Bank, Inc", OU = API, CN = partner',
            'cn=partner, ou=API, o=Bank\\2C Inc, c=PL', '2.5.4.3=partner,OU=API,O=Bank\\, Inc,C=PL',
            'O=Bank\\, Inc,CN=partner,C=PL,OU=API',
        ):  # fmt: skip
            self.assertTrue(is_same_name(parse_name(text), name), text)
        for text in ('CN=partner,OU=API,C=PL', 'CN=partner,OU=API,O=Bank,C=PL', 'CN=partner+OU=API,O=Bank\\, Inc,C=PL'):
            self.assertFalse(is_same_name(parse_name(text), name), text)

    def test_order_of_units(self) -> None:
        """If a type occurs several times, the order matters: forwards or backwards."""
        name = parse_certificate_name(BANK.issue('CN=x,OU=inner,OU=outer').certificate.subject)
        self.assertTrue(is_same_name(parse_name('CN=x,OU=inner,OU=outer'), name))
        self.assertTrue(is_same_name(parse_name('OU=outer,OU=inner,CN=x'), name))
        self.assertFalse(is_same_name(parse_name('CN=x,OU=outer,OU=inner'), name))
        self.assertFalse(is_same_name(parse_name('CN=x,OU=inner'), name))

    def test_values(self) -> None:
        """Escapes, UTF-8 and escaped spaces at the ends are parsed."""
        self.assertEqual(parse_name('CN=J\\C3\\A9 \\"x\\" \\+\\= \\ '), (frozenset({('2.5.4.3', 'Jé "x" += ' + ' ')}),))
        self.assertEqual(parse_name('CN=a=b'), (frozenset({('2.5.4.3', 'a=b')}),))
        self.assertEqual(len(parse_name('CN=a+UID=b,O=c')[0]), 2)

    def test_no_names(self) -> None:
        """Unreadable names are reported with the position or the unknown part."""
        for text, why in (('', 'character 1'), ('CN=a,', 'character 6'), ('CN=a,,O=b', 'character 6'),
                          ('/CN=a/O=b', 'character 1'), ('partner', 'character 1'), ('FOO=1', 'FOO is no attribute'),
                          ('CN=', 'without a value'), ('CN=#0c01', 'hexadecimal'), ('CN=\\C3', 'no UTF-8'),
                          ('CN="a', 'character 1')):  # fmt: skip
            self.assertIn(why, str(self.assertRaises(Malformed, parse_name, text)))

    def test_alternative_names(self) -> None:
        """Names are given with their kind, as OpenSSL writes them, or recognized by their form."""
        for text, name in (
            ('Host.Example', ('dns', 'host.example')), ('DNS:10.0.0.1', ('dns', '10.0.0.1')),
            ('10.0.0.1', ('ip', '10.0.0.1')), ('2001:DB8::1', ('ip', '2001:db8::1')), ('IP: ::1', ('ip', '::1')),
            ('urn:x:Y', ('uri', 'urn:x:Y')), ('URI:host', ('uri', 'host')), ('a@B.c', ('email', 'a@b.c')),
            ('https://a/B', ('uri', 'https://a/B')),
        ):  # fmt: skip
            self.assertEqual(parse_alternative_name(text), name)
        for text in ('', 'DNS:', 'IP:host', 'IP:'):
            self.assertRaises(Malformed, parse_alternative_name, text)


class DefinitionTests(SynchronousTestCase):
    def errors(self, **fields: Any) -> dict[str, str]:
        value, mistakes = validate(MTLS, {'name': 'partner', **fields})
        self.assertEqual(value is None, bool(mistakes))
        return dict(mistakes)

    def test_good_ones(self) -> None:
        """An authority, a fingerprint, or everything together is valid."""
        self.assertEqual(self.errors(ca=BANK.pem), {})
        self.assertEqual(self.errors(fingerprint=[PARTNER.fingerprint.upper()]), {})
        self.assertEqual(self.errors(
            ca=BANK.pem, subject='CN=partner,O=Bank', san=['a.example'], fingerprint=[':'.join(['ab'] * 32)],
            crl=BANK.revoked(), roles=['partner'],
        ), {})  # fmt: skip

    def test_something_must_prove_it(self) -> None:
        """A definition without authority and fingerprint would accept any certificate and is rejected."""
        self.assertIn('anybody can make a certificate', self.errors(subject='CN=partner')['ca'])
        self.assertIn('of no use', self.errors(fingerprint=['ab' * 32], crl=BANK.revoked())['crl'])

    def test_all_at_once(self) -> None:
        """All unreadable fields are reported by name at once."""
        wrong = self.errors(subject='x', san=['IP:x'], ca='x', fingerprint=['ab'], crl='x')
        self.assertEqual(list(wrong), ['subject', 'san', 'ca', 'fingerprint', 'crl'])

    def test_private_keys_do_not_belong_here(self) -> None:
        """Private keys are rejected and not shown."""
        private = PARTNER.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        said = self.errors(ca=BANK.pem + private)['ca']
        self.assertIn('private key', said)
        self.assertNotIn(private.split('\n')[1], said)

    def test_stored_by_an_older_version(self) -> None:
        """A definition that is no longer valid rejects all certificates, and the log gives the reason."""
        log = LogRecorder()
        globalLogPublisher.addObserver(log)
        self.addCleanup(globalLogPublisher.removeObserver, log)
        check = MtlsAuthenticator(definition(ca='nonsense'), lambda: NOW)
        self.assertIn("'partner' rejects all certificates: holds no certificate", log.messages(logging.ERROR)[0])
        self.assertRaises(Unauthorized, check.check, from_client(PARTNER))
        self.assertIn('it is invalid', next(check.findings()))
        guard = AuthenticationPolicy(
            {'mtls': lambda stored: MtlsAuthenticator(stored, lambda: NOW), 'other': FieldAuthenticator}
        )
        guard.apply(
            Snapshot(1, [definition(ca='nonsense'), StoredObject(2, 'other', BasicAuth(name='o', username='o'), 1)])
        )
        self.assertEqual(list(guard.findings()), list(check.findings()))
