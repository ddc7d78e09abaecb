"""Definitions of tokens and client certificates as objects: zato.* services in Zato's words, enmasse, history."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.internals import TYPES, InternalTestCase
from trial_tests.support.issuing import Issuer
from trial_tests.support.tokens import SECRET, pem, private_key
from zatotx.model.cid import new_cid
from zatotx.model.message import ChannelSpec, Message, Principal
from zatotx.rules.enmasse.import_plan import export_document, plan_import
from zatotx.rules.security.roles import API
from zatotx.schema.snapshot import Snapshot, StoredObject

BANK = Issuer('Bank CA')
JSON_DOOR = ChannelSpec(name='zato.json', kind='http-soap', service='', data_format='json', is_builtin_endpoint=True)
TOKENS = {
    'name': 'idp.jwt', 'type': 'jwt', 'algorithms': ['RS256'], 'jwks_url': 'https://idp/jwks', 'issuer': 'https://idp/',
    'audience': 'zatotx', 'leeway': 30,
}  # fmt: skip
PARTNER = {'name': 'partner.mtls', 'type': 'mtls', 'subject': 'CN=partner,O=Bank', 'san': [], 'ca': BANK.pem}


def planned(document: Any, there: Snapshot | None = None, *, replace: bool = False) -> Any:
    return plan_import(document, TYPES, there or Snapshot(), replace=replace, verify=lambda hashed, clear: False)


def made_of(plan: Any) -> Snapshot:
    return Snapshot(1, [StoredObject(number, step.type, TYPES[step.type].struct(**step.fields), 1)
                        for number, step in enumerate(plan.operations, 1)])  # fmt: skip


class EnmasseTests(SynchronousTestCase):
    def test_as_the_contract_has_it(self) -> None:
        """The lines of contract §5 are taken as they are, come out with what they say, and change nothing again."""
        secret = {'name': 's', 'type': 'jwt', 'algorithms': 'HS256', 'secret': SECRET}
        plan = planned({'security': [TOKENS, PARTNER, secret]})
        self.assertEqual(plan.errors, ())
        snapshot = made_of(plan)
        exported = export_document(snapshot, TYPES, secrets=True)
        tokens = next(item for item in exported['security'] if item['name'] == 'idp.jwt')
        self.assertEqual(tokens, {**TOKENS, 'audience': ['zatotx'], 'leeway': 30.0})
        again = planned(exported, snapshot, replace=True)
        self.assertEqual((again.operations, again.unchanged), ((), 3))
        masked = repr(export_document(snapshot, TYPES, secrets=False))
        self.assertNotIn(SECRET, masked)
        self.assertIn('${ZATOTX_S_SECRET}', masked)

    def test_all_mistakes_at_once(self) -> None:
        """Of several definitions, each with section, object and field."""
        plan = planned({'security': [
            {**TOKENS, 'name': 'a', 'algorithms': ['none']}, {**TOKENS, 'name': 'b', 'jwks_url': 'http://idp/jwks'},
            {**TOKENS, 'name': 'c', 'public_key': pem(private_key('RS256'))}, {**PARTNER, 'name': 'd', 'ca': ''},
            {**PARTNER, 'name': 'e', 'subject': 'partner'},
        ]})  # fmt: skip
        self.assertEqual(
            [(mistake.section, mistake.object.strip("'"), mistake.field) for mistake in plan.errors],
            [('security', 'a', 'algorithms'), ('security', 'b', 'jwks_url'), ('security', 'c', 'secret'),
             ('security', 'd', 'ca'), ('security', 'e', 'subject')],
        )  # fmt: skip

    def test_another_source_of_keys(self) -> None:
        """A secret stays where a document says nothing of it, and goes where it says ''."""
        there = made_of(planned({'security': [{'name': 'idp.jwt', 'type': 'jwt', 'algorithms': ['HS256'],
                                               'secret': SECRET}]}))  # fmt: skip
        (mistake, *_) = planned({'security': [TOKENS]}, there, replace=True).errors
        self.assertIn("not secret and jwks_url; set the others to ''", mistake.description)
        self.assertEqual(planned({'security': [{**TOKENS, 'secret': ''}]}, there, replace=True).errors, ())


class ZatoTests(InternalTestCase):
    async def test_jwt(self) -> None:
        """create, get-list, edit, change-password and delete by Zato's names, in which the secret is a password."""
        made = await self.call('zato.security.jwt.create', {
            'cluster_id': 1, 'name': 't', 'is_active': True, 'algorithms': 'HS256', 'password': SECRET,
        })  # fmt: skip
        (row,) = await self.call('zato.security.jwt.get-list', {'cluster_id': 1})
        self.assertEqual((row['id'], row['algorithms'], row['username']), (made['id'], ['HS256'], ''))
        self.assertFalse({'secret', 'password'} & row.keys())
        await self.call('zato.security.jwt.edit', {'id': made['id'], 'issuer': 'https://idp/', 'password': ''})
        other = SECRET[::-1]
        await self.call('zato.security.jwt.change-password', {**made, 'password1': other, 'password2': other})
        for node in (self.one, self.two):
            await self.one.config.wait_until_applied(self.one.config.snapshot.revision)
            value = node.config.snapshot.find('jwt', 't').value
            self.assertEqual((value.secret, value.issuer), (other, 'https://idp/'))
        history = repr(await self.call('zato.history.get-list'))
        self.assertFalse(SECRET in history or other in history)
        await self.call('zato.security.jwt.delete', {'id': made['id']})

    async def test_a_secret_that_is_too_short(self) -> None:
        """Is refused wherever it comes from, and shown nowhere."""
        given = {'name': 't', 'algorithms': ['HS512'], 'password': SECRET[:63]}
        told = await self.refusal('zato.security.jwt.create', given, 400)
        self.assertEqual(told, '$.password: is shorter than the 64 bytes that HS512 needs (RFC 7518 §3.2)')
        made = await self.call('zato.security.jwt.create', {**given, 'password': SECRET})
        short = {'id': made['id'], 'password1': 'short', 'password2': 'short'}
        told = await self.refusal('zato.security.jwt.change-password', short, 400)
        self.assertEqual(told, '$.password1: has 5 bytes, and the shortest hash needs 32')

    async def test_no_password_to_change(self) -> None:
        """A definition whose issuer publishes keys has no secret, and gets none beside them."""
        made = await self.call('zato.security.jwt.create', {
            'name': 't', 'algorithms': ['RS256'], 'jwks_url': 'https://idp/jwks',
        })  # fmt: skip
        given = {'id': made['id'], 'password1': SECRET, 'password2': SECRET}
        self.assertIn('exactly one of', await self.refusal('zato.security.jwt.change-password', given, 400))

    async def test_roles_of_tokens_are_the_administrators_to_give(self) -> None:
        """Whoever made a definition that takes roles from tokens, and signs them, would have any role."""
        given = {'name': 't', 'algorithms': ['HS256'], 'password': SECRET}
        for claim, status in (('roles', 403), ('', 200)):
            inbound = Message(new_cid(), JSON_DOOR, 'zato.security.jwt.create', {},
                              msgspec.json.encode({**given, 'roles_claim': claim}), self.one.reactor.seconds() + 30.0)
            inbound.principal = Principal('someone', 'someone', 'basic_auth', roles=frozenset({API}))
            self.assertEqual((await self.one.pipeline.serve(inbound)).status, status)
        made = await self.call('zato.security.jwt.get-by-name', {'name': 't'})
        await self.call('zato.security.jwt.edit', {'id': made['id'], 'roles_claim': 'roles'})

    async def test_mtls(self) -> None:
        """create, get-list, edit and delete; there is no password."""
        made = await self.call('zato.security.mtls.create', {'name': 'p', 'subject': 'CN=partner', 'ca': BANK.pem})
        await self.call('zato.security.mtls.edit', {'id': made['id'], 'san': 'a.example, b.example'})
        (row,) = await self.call('zato.security.mtls.get-list', {'cluster_id': 1})
        self.assertEqual((row['subject'], row['san'], row['ca']), ('CN=partner', ['a.example', 'b.example'], BANK.pem))
        told = await self.refusal('zato.security.mtls.edit', {'id': made['id'], 'ca': 'x'}, 400)
        self.assertEqual(told, '$.ca: holds no certificate in PEM form, or one that cannot be read')
        await self.refusal('zato.security.mtls.change-password', {**made, 'password1': 'x', 'password2': 'x'}, 404)
        await self.call('zato.security.mtls.delete', {'id': made['id']})
        self.assertEqual(await self.call('zato.security.mtls.get-list'), [])
