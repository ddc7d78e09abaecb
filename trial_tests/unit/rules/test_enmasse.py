"""Tests of enmasse as pure functions: from documents and snapshots to plans and documents."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
import yaml
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.odb import TYPES
from zatotx.plugins.http.schema import CHANNEL_REST, OUTGOING_REST, RestChannel, RestOutgoing
from zatotx.plugins.http.schema.http_outgoing_base import RetrySettings
from zatotx.rules.enmasse.import_plan import (
    DocumentReferenceError,
    ImportPlan,
    export_document,
    plan_import,
    substitute_references,
)
from zatotx.rules.enmasse.object_diff import describe_changes
from zatotx.schema.circuit_breaker_settings import CircuitBreakerSettings
from zatotx.schema.meta import ObjectType, field
from zatotx.schema.secrets import ConfigObject
from zatotx.schema.security.definition import FOR_CHANNELS
from zatotx.schema.service_config import ServiceConfig
from zatotx.schema.snapshot import Operation, Snapshot, StoredObject
from zatotx.schema.type_registry import ObjectTypeRegistry
from zatotx.security.basic_auth import BASIC_AUTH, BasicAuth
from zatotx.security.digest_credentials import DigestAuth

TAGS = ', '.join(object_type.tag for object_type in TYPES.in_namespace('security'))
_NO_DOCUMENTS: tuple[object, ...] = (None, [], 'text', 7)


def verify(hashed: str, clear: str) -> bool:
    """Verifies a secret against the tests' hash, `$argon2id$#secret`."""
    return hashed == f'$argon2id$#{clear}'


def kept(clear: str) -> str:
    """Returns the stored form of a secret."""
    return f'$argon2id$#{clear} enc:{clear[::-1]}'


def stored(*values: tuple[str, Any]) -> Snapshot:
    return Snapshot(1, [StoredObject(number, type_, value, 1) for number, (type_, value) in enumerate(values, 1)])


ECHO = ('service', ServiceConfig(name='echo'))
API = ('basic_auth', BasicAuth(name='api', username='api', password=kept('sesame')))
CHANNEL = ('channel_rest', RestChannel(name='c', url_path='/c', service='echo', security='api'))
BASE = stored(ECHO, API, CHANNEL)


def plan(
    document: object, snapshot: Snapshot = BASE, *, replace: bool = False, types: ObjectTypeRegistry = TYPES
) -> ImportPlan:
    """Plans the import of a document, or of its YAML."""
    if isinstance(document, str):
        document = yaml.safe_load(document)
    return plan_import(document, types, snapshot, replace=replace, verify=verify)


def applied(snapshot: Snapshot, operations: Iterable[Operation], types: ObjectTypeRegistry = TYPES) -> Snapshot:
    """Returns the snapshot after the operations, with secrets hashed by the tests' hash."""
    objects = {o.id: o for o in snapshot}
    for operation in operations:
        fields = dict(operation.fields)
        if fields.get('password') and not fields['password'].startswith('$argon2id$'):
            fields['password'] = kept(fields['password'])
        object_id = operation.id or len(objects) + 1000
        if operation.action == 'edit':
            old = objects[object_id].value
            fields = {**{name: getattr(old, name) for name in old.__struct_fields__}, **fields}
        objects[object_id] = StoredObject(object_id, operation.type, types[operation.type].struct(**fields), 2)
    return Snapshot(2, objects.values())


class ImportTests(SynchronousTestCase):
    def test_new_objects_are_created(self) -> None:
        """New objects of one document may refer to each other in any order."""
        found = plan('''
            channel_rest:
              - {name: d, url_path: /d, service: echo, security: new, method: POST}
            security:
              - {name: new, type: basic_auth, username: new, password: x}
        ''')
        self.assertEqual(found.errors, ())
        self.assertEqual([(o.action, o.type, o.name) for o in found.operations],
                         [('create', 'channel_rest', 'd'), ('create', 'basic_auth', 'new')])  # fmt: skip
        self.assertEqual(found.operations[0].fields['method'], 'POST')
        self.assertIn("+ channel_rest 'd'", found.diff_lines)
        self.assertIn("    method: 'POST'", found.diff_lines)
        self.assertIn("    password: '******'", found.diff_lines)

    def test_what_is_there_already_is_no_change(self) -> None:
        """The same password, its hash, its stored form, or no password does not change an existing object."""
        for password in ('', ', password: sesame', ", password: '$argon2id$#sesame'",
                         f", password: '{kept('sesame')}'"):
            found = plan(f'security: [{{name: api, type: basic_auth, username: api{password}}}]')
            self.assertEqual((found.operations, found.errors, found.unchanged), ((), (), 1))
            self.assertEqual(found.diff_lines, ())

    def test_a_password_of_which_there_is_only_a_hash(self) -> None:
        """A secret stored as a hash becomes a dual secret when an import contains the password; the hash alone does not
        suffice."""
        before = stored(('basic_auth', BasicAuth(name='api', username='api', password='$argon2id$#sesame')))
        found = plan('security: [{name: api, type: basic_auth, username: api, password: sesame}]', before)
        self.assertEqual([step.fields for step in found.operations], [{'password': 'sesame'}])
        same = plan("security: [{name: api, type: basic_auth, username: api, password: '$argon2id$#sesame'}]", before)
        self.assertEqual(same.unchanged, 1)

    def test_what_differs_is_changed(self) -> None:
        """Changed fields are edited, and omitted fields keep their values."""
        found = plan('channel_rest: [{name: c, url_path: /moved}]')
        self.assertEqual(found.errors, ())
        self.assertEqual([step.fields for step in found.operations], [{'url_path': '/moved'}])
        self.assertEqual(found.diff_lines, ("~ channel_rest 'c': url_path: '/c' → '/moved'",))

    def test_replace_makes_an_object_just_what_the_document_says(self) -> None:
        """With replace, omitted fields get their defaults."""
        found = plan('channel_rest: [{name: c, url_path: /moved, service: echo}]', replace=True)
        self.assertEqual(
            found.operations,
            (Operation(action='edit', type='channel_rest', name='c', id=3,
                       fields={'url_path': '/moved', 'security': None}),),
        )  # fmt: skip

    def test_another_password_is_a_change(self) -> None:
        """A different password is a change and is never shown; the same password beside another change is not."""
        document = 'security: [{name: api, type: basic_auth, username: api, password: other}]'
        found = plan(document)
        self.assertEqual(found.operations[0].fields, {'password': 'other'})
        self.assertEqual(found.diff_lines, ("~ security 'api': password: '******' → '******'",))
        same = plan('security: [{name: api, type: basic_auth, username: a, password: sesame}]', replace=True)
        self.assertEqual(same.operations[0].fields, {'username': 'a'})
        self.assertEqual(same.diff_lines, ("~ security 'api': username: 'api' → 'a'",))

    def test_what_the_document_does_not_name_stays(self) -> None:
        """Objects missing from the document are not touched, even with replace."""
        for document in ('channel_rest: []', 'security:', '{}'):
            self.assertEqual(plan(document, replace=True), ImportPlan())

    def test_paths_may_be_swapped(self) -> None:
        """Uniqueness is checked for the state after the import."""
        snapshot = stored(
            ECHO,
            ('channel_rest', RestChannel(name='a', url_path='/a', service='echo')),
            ('channel_rest', RestChannel(name='b', url_path='/b', service='echo')),
        )
        document = '''
            channel_rest:
              - {name: a, url_path: /b, service: echo}
              - {name: b, url_path: /a, service: echo}
        '''
        self.assertEqual(len(plan(document, snapshot, replace=True).operations), 2)

    def test_text_of_the_environment_becomes_numbers_and_switches(self) -> None:
        """Text is converted, since `timeout: ${TIMEOUT}` is substituted as text."""
        found = plan('channel_rest: [{name: d, url_path: /d, service: echo, timeout: "5", is_active: "no"}]')
        self.assertEqual((found.operations[0].fields['timeout'], found.operations[0].fields['is_active']), (5.0, False))

    def test_a_type_may_be_left_out_where_there_is_one(self) -> None:
        """The type is optional in sections with one type."""
        found = plan('security: [{name: n, username: n}]', Snapshot(), types=ObjectTypeRegistry([BASIC_AUTH]))
        self.assertEqual(found.operations[0].type, 'basic_auth')


class MistakeTests(SynchronousTestCase):
    def errors(self, document: object, *, replace: bool = False) -> list[str]:
        found = plan(document, replace=replace)
        self.assertEqual(found.operations, ())
        return [str(mistake) for mistake in found.errors]

    def test_all_at_once_each_with_its_place(self) -> None:
        """All errors are reported with section, object and field, several per object too, even if other objects are
        valid."""
        found = self.errors('''
            chanel_rest: []
            security:
              - {name: good, type: basic_auth, username: good}
              - {name: odd, type: kerberos, username: odd}
              - {name: none, username: u}
            channel_rest:
              - {name: d, url_path: d, service: nothing, security: nobody, weather: red, timeout: soon}
              - {url_path: /e, service: echo}
              - 7
              - {name: f, url_path: /f, service: echo}
              - {name: f, url_path: /g, service: echo}
        ''')
        self.assertEqual(
            set(found),
            {
                'chanel_rest: section unknown, did you mean channel_rest?',
                f"security 'odd': type: must be one of: {TAGS}, got 'kerberos'",
                f"security 'none': type: must be one of: {TAGS}",
                "channel_rest 'd': url_path: it must begin with /",
                "channel_rest 'd': weather: unknown",
                "channel_rest 'd': timeout: expected float, got str",
                "channel_rest 'd': service: there is no service called 'nothing'",
                "channel_rest 'd': security: there is no security called 'nobody'",
                'channel_rest #2: name: missing',
                'channel_rest #3: must be a mapping of fields, not a number',
                "channel_rest 'f': name: there are two objects of this name in the document",
            },
        )
        self.assertEqual(len(found), 11)

    def test_references_to_what_is_wrong_itself(self) -> None:
        """A reference to an object of the document whose type is wrong is reported at that object only."""
        self.assertEqual(self.errors('''
            security: [{name: odd, type: kerberos}]
            channel_rest: [{name: d, url_path: /d, service: echo, security: odd}]
        '''), [f"security 'odd': type: must be one of: {TAGS}, got 'kerberos'"])

    def test_kinds_of_values(self) -> None:
        """What stands in place of a document, a section or an object is named."""
        for value, said in ((None, 'nothing'), ('x', 'text'), (7, 'a number'), (7.5, 'a number'),
                            (True, 'true or false'), ([], 'a list'), ({1}, 'a set')):  # fmt: skip
            self.assertEqual(self.errors(value), [f'the document must be a mapping of sections, not {said}'])
        self.assertEqual(self.errors({'channel_rest': {}}),
                         ['channel_rest: must be a list of objects, not a mapping'])  # fmt: skip
        self.assertEqual(self.errors({'channel_rest': [['x']]}),
                         ['channel_rest #1: must be a mapping of fields, not a list'])  # fmt: skip

    def test_references_to_what_does_not_fit(self) -> None:
        """References to definitions of an unsuitable type are rejected, in the document or the cluster: channels
        verify, outgoing connections send credentials."""
        ours = stored(ECHO, API, ('digest_auth', DigestAuth(name='digest', username='u')))
        found = plan('''
            security:
              - {name: token, type: oauth2_client, token_url: "https://idp/token", client_id: us}
              - {name: account, type: tech_account}
            groups:
              - {name: g, members: [api, account, token]}
            channel_rest:
              - {name: d, url_path: /d, service: echo, security: digest}
              - {name: e, url_path: /e, service: echo, security: account, groups: [g]}
            outgoing_rest:
              - {name: o, host: "http://127.0.0.1", url_path: /, security: account}
              - {name: p, host: "http://127.0.0.1", url_path: /, security: token}
        ''', ours)
        callers = ', '.join(t.key for t in TYPES.in_namespace('security') if FOR_CHANNELS in t.purposes)
        self.assertEqual([str(mistake) for mistake in found.errors], [
            f"groups 'g': members[2]: 'token' is of type oauth2_client, and only {callers} will do here",
            f"channel_rest 'd': security: 'digest' is of type digest_auth, and only {callers} will do here",
            "outgoing_rest 'o': security: 'account' is of type tech_account, and only apikey, basic_auth, digest_auth, "
            'oauth2_client will do here',
        ])

    def test_a_path_that_is_taken_is_named_with_its_holder(self) -> None:
        """A duplicate path is reported with the object that has it, in the cluster or the document; parameter names do
        not matter."""
        self.assertEqual(
            self.errors('channel_rest: [{name: d, url_path: /c, service: echo}]'),
            ["channel_rest 'd': method and url_path: 'any /c' is taken by 'c'"],
        )
        found = self.errors('''
            channel_rest:
              - {name: d, url_path: "/x/{y}", service: echo}
              - {name: e, url_path: "/x/{z}", service: echo}
        ''')
        self.assertEqual(found, ["channel_rest 'e': method and url_path: 'any /x/{}' is taken by 'd'"])

    def test_what_is_no_document_is_refused(self) -> None:
        """Any input other than a document is rejected."""
        for document in _NO_DOCUMENTS:
            self.assertIn('must be a mapping of sections', self.errors(document)[0])
        self.assertIn('must be a list of objects', self.errors({'channel_rest': 7})[0])
        self.assertIn('section unknown', self.errors({7: []})[0])
        self.assertIn('name', self.errors({'channel_rest': [{'name': ['x']}]})[0])
        self.assertIn('unknown', str(self.errors({'channel_rest': [{'name': 'x', 7: 8}]})))

    def test_a_name_that_was_meant(self) -> None:
        """A similar name of the cluster or the document is suggested, for the first errors only, since it is slow."""
        found = self.errors('''
            security: [{name: partner, type: basic_auth, username: p}]
            channel_rest: [{name: d, url_path: /d, service: ecko, security: Partners}]
        ''')
        self.assertEqual(found, ["channel_rest 'd': service: there is no service called 'ecko', did you mean 'echo'?",
                                 "channel_rest 'd': security: there is no security called 'Partners', did you mean "
                                 "'partner'?"])
        many = {'channel_rest': [{'name': f'n{n}', 'url_path': f'/{n}', 'service': 'ecko'} for n in range(25)]}
        self.assertEqual(sum('did you mean' in said for said in self.errors(many)), 20)

    def test_references_that_nobody_read(self) -> None:
        """Unresolved references in any field are errors if the sender does not declare them resolved; values are not
        shown."""
        for text in ('${PW}', 'x${PW}', 'Zato_Enmasse_Env.PW', '$PW'):
            document = {'security': [{'name': 'n', 'type': 'basic_auth', 'username': 'u', 'password': text}]}
            found = plan_import(document, TYPES, BASE, replace=False, verify=verify, references_resolved=False)
            self.assertEqual(found.operations, ())
            self.assertIn("security 'n': password: it refers to a variable that was not read", str(found.errors[0]))
            self.assertNotIn(text, str(found.errors))
            self.assertEqual(len(plan(document).operations), 1)

    def test_services_are_no_section(self) -> None:
        """Services cannot be imported: code is deployed."""
        self.assertIn('service: section unknown', self.errors({'service': []})[0])

    def test_a_name_of_another_type_is_a_mistake(self) -> None:
        """Names are unique in a section across types."""
        found = plan('security: [{name: api, type: key}]', types=MORE)
        self.assertEqual(str(found.errors[0]), "security 'api': type: it exists already as basic_auth")

    def test_no_mistake_shows_a_secret(self) -> None:
        """No error contains a secret."""
        found = self.errors('security: [{name: x, type: basic_auth, username: "a:b", password: sEcReT, colour: red}]')
        self.assertNotIn('sEcReT', str(found))
        self.assertEqual(len(found), 2)


class Key(ConfigObject, frozen=True, kw_only=True):
    """An additional type in the security section."""

    name: Annotated[str, field('Its name')]
    secret: Annotated[str, field('Read back', secret='encrypted')] = ''
    size: Annotated[int, field('How long')] = 8
    parts: Annotated[dict[str, str], field('Whatever')] = {}


MORE = ObjectTypeRegistry((*TYPES, ObjectType(key='key', struct=Key, section='security', tag='key')))


class ExportTests(SynchronousTestCase):
    snapshot = stored(
        ECHO,
        API,
        CHANNEL,
        ('basic_auth', BasicAuth(name='admin.invoke', username='admin.invoke', password='#x')),
        ('basic_auth', BasicAuth(name='Unset', username='u')),
        ('key', Key(name='k', secret='a ${b} c', parts={'x': '${Y}'})),
        ('channel_rest', RestChannel(name='a', url_path='/a', service='echo', timeout=5.0, is_active=False)),
    )

    def test_an_export_is_sorted_and_leaves_defaults_out(self) -> None:
        """An export is sorted, and omits defaults, services and built-in objects."""
        self.assertEqual(
            export_document(self.snapshot, MORE),
            {
                'security': [
                    {'name': 'Unset', 'type': 'basic_auth', 'username': 'u'},
                    {'name': 'api', 'type': 'basic_auth', 'username': 'api', 'password': '${ZATOTX_API_PASSWORD}'},
                    {'name': 'k', 'type': 'key', 'secret': '${ZATOTX_K_SECRET}', 'parts': {'x': '$${Y}'}},
                ],
                'channel_rest': [
                    {'name': 'a', 'is_active': False, 'url_path': '/a', 'service': 'echo', 'timeout': 5.0},
                    {'name': 'c', 'url_path': '/c', 'service': 'echo', 'security': 'api'},
                ],
            },
        )

    def test_nested_values(self) -> None:
        """Values within a field are exported without defaults too."""
        outgoing = RestOutgoing(name='CRM', host='http://h', url_path='/', retry=RetrySettings(attempts=4))
        (item,) = export_document(stored(('outgoing_rest', outgoing)), TYPES)['outgoing_rest']
        self.assertEqual(item, {'name': 'CRM', 'host': 'http://h', 'url_path': '/', 'retry': {'attempts': 4}})

    def test_an_export_is_the_same_each_time(self) -> None:
        """An export does not depend on the order of ids, also through YAML."""
        turned = Snapshot(1, reversed(list(self.snapshot)))
        self.assertEqual(
            yaml.safe_dump(export_document(turned, MORE)), yaml.safe_dump(export_document(self.snapshot, MORE))
        )

    def test_an_export_imports_back_to_the_same_state(self) -> None:
        """Importing an export into the same cluster changes nothing; into an empty cluster with the same services it
        creates the same objects, with secrets included or from environment variables."""
        environ = {'ZATOTX_API_PASSWORD': 'sesame', 'ZATOTX_K_SECRET': 'a ${b} c'}
        empty = stored(ECHO)
        for secrets in (True, False):
            document = yaml.safe_load(yaml.safe_dump(export_document(self.snapshot, MORE, secrets=secrets)))
            document, missing = substitute_references(document, {} if secrets else environ)
            self.assertEqual(missing, [])
            over = plan(document, self.snapshot, types=MORE)
            self.assertEqual((over.operations, over.errors, over.unchanged), ((), (), 5))
            fresh = plan(document, empty, types=MORE)
            self.assertEqual(fresh.errors, ())
            made = applied(empty, fresh.operations, MORE)
            self.assertEqual(
                export_document(made, MORE, secrets=True), export_document(self.snapshot, MORE, secrets=True)
            )

    def test_every_secret_has_a_variable_of_its_own(self) -> None:
        """Names that map to the same or an invalid variable get a suffix, which is stable."""
        names = ['api.user', 'api-user', 'żółw', 'żółty', 'plain']
        snapshot = stored(*(('basic_auth', BasicAuth(name=n, username='u', password='#x')) for n in names))
        found = {o['name']: o['password'] for o in export_document(snapshot, TYPES)['security']}
        self.assertEqual(len(set(found.values())), len(names))
        self.assertEqual(found['plain'], '${ZATOTX_PLAIN_PASSWORD}')
        for placeholder in found.values():
            self.assertRegex(placeholder, r'\A\$\{[A-Z][A-Z0-9_]*\}\Z')

    def test_a_cluster_without_objects_is_an_empty_document(self) -> None:
        """A cluster without objects is exported as an empty document, which can be imported."""
        self.assertEqual(export_document(stored(ECHO), TYPES), {})


class SubstituteTests(SynchronousTestCase):
    def test_placeholders_are_read_from_the_environment(self) -> None:
        """Variables are substituted anywhere in a value, at any depth; keys and other text are unchanged."""
        item = {'name': '${A}', 'n': 1, 'l': ['x${A}y${B}', {'${A}': '${B}'}]}
        document = {'s': [item, 7], 't': None, 'u': '${A}'}
        found, missing = substitute_references(document, {'A': 'a', 'B': '${A}'})
        self.assertEqual(missing, [])
        self.assertEqual(
            found, {'s': [{'name': 'a', 'n': 1, 'l': ['xay${A}', {'${A}': '${A}'}]}, 7], 't': None, 'u': '${A}'}
        )

    def test_missing_variables_are_mistakes_with_their_place(self) -> None:
        """All missing variables are reported with their location, once per field."""
        document: dict[str, Any] = {'security': [{'name': 'a', 'password': '${P}${P}'}, {'password': '${Q}'}]}
        _, missing = substitute_references(document, {})
        self.assertEqual(
            [str(m) for m in missing],
            [
                "security 'a': password: the environment has no variable 'P'",
                "security #2: password: the environment has no variable 'Q'",
            ],
        )
        self.assertIsInstance(missing[0], DocumentReferenceError)

    def test_a_doubled_dollar_is_the_text_itself(self) -> None:
        """A doubled dollar escapes a reference; a single dollar is literal."""
        found, missing = substitute_references({'s': [{'a': '$${X} $5 $X {X} ${'}]}, {})
        self.assertEqual((found, missing), ({'s': [{'a': '${X} $5 $X {X} ${'}]}, []))

    def test_what_is_no_document_is_left_for_the_plan(self) -> None:
        """Input other than a document is returned unchanged, so that the plan reports it."""
        self.assertEqual(substitute_references([1], {}), ([1], []))

    def test_files_are_read(self) -> None:
        """Values that begin with `file:` are replaced at any depth; paths may contain variables; file contents are not
        expanded; unreadable files are reported with their location."""
        def read(path: str) -> str:
            if path == 'gone':
                raise ValueError('the file gone cannot be read')
            return f'[{path} ${{X}} file:x]'

        item = {'name': 'a', 'p': 'file:k/${A}', 'l': ['file:/abs', 'x file:y', '$file:z', '$$file:z']}
        found, missing = substitute_references({'s': [item]}, {'A': 'b'}, read)
        self.assertEqual(missing, [])
        self.assertEqual(found['s'][0], {
            'name': 'a', 'p': '[k/b ${X} file:x]',
            'l': ['[/abs ${X} file:x]', 'x file:y', 'file:z', '$file:z'],
        })
        wrong = {'s': [{'name': 'a', 'p': 'file:gone', 'q': 'file:${B}', 'r': '${B}'}]}
        self.assertEqual([str(m) for m in substitute_references(wrong, {}, read)[1]], [
            "s 'a': p: the file gone cannot be read",
            "s 'a': q: the environment has no variable 'B'",
            "s 'a': r: the environment has no variable 'B'",
        ])
        self.assertEqual(substitute_references({'s': [{'a': 'file:x'}]}, {}), ({'s': [{'a': 'file:x'}]}, []))


class OpenTests(SynchronousTestCase):
    def test_channels_that_anyone_may_use(self) -> None:
        """Channels with neither security nor groups after the import are reported, changed or not."""
        there = stored(ECHO, API, CHANNEL, ('channel_rest', RestChannel(name='o', url_path='/o', service='echo')))
        found = plan('''
            groups: [{name: g, members: [api]}]
            channel_rest:
              - {name: a, url_path: /a, service: echo}
              - {name: b, url_path: /b, service: echo, security: api}
              - {name: d, url_path: /d, service: echo, groups: [g]}
              - {name: c, security: null}
              - {name: o}
            outgoing_rest: [{name: CRM, host: "http://127.0.0.1", url_path: /}]
        ''', there)
        self.assertEqual(found.errors, ())
        self.assertEqual(found.anonymous_channels, ("channel_rest 'a'", "channel_rest 'c'", "channel_rest 'o'"))
        self.assertEqual(plan('channel_rest: [{name: c}]').anonymous_channels, ())


class DiffTests(SynchronousTestCase):
    def test_mappings(self) -> None:
        """The diff of a mapping shows its changed values, also if all new values are defaults."""
        old = RestOutgoing(name='CRM', host='http://h', url_path='/', retry=RetrySettings(attempts=4))
        new = msgspec.structs.replace(old, retry=RetrySettings(attempts=5), circuit_breaker=CircuitBreakerSettings())
        found = describe_changes(OUTGOING_REST, old, new)
        self.assertIn("~ outgoing_rest 'CRM': retry.attempts: 4 → 5", found)
        self.assertIn("circuit_breaker: None → {'failures': 5", ''.join(found))
        self.assertNotIn('{}', ''.join([*found, *describe_changes(OUTGOING_REST, None, new)]))

    def test_new_gone_and_changed(self) -> None:
        """There is one line per change, with secrets masked."""
        old, new = CHANNEL[1], RestChannel(name='c', url_path='/d', service='echo')
        self.assertEqual(
            describe_changes(CHANNEL_REST, old, new),
            ["~ channel_rest 'c': url_path: '/c' → '/d'", "~ channel_rest 'c': security: 'api' → None"],
        )
        self.assertEqual(describe_changes(CHANNEL_REST, None, new)[0], "+ channel_rest 'c'")
        self.assertEqual(describe_changes(CHANNEL_REST, old, None), ["- channel_rest 'c'"])
        self.assertEqual(describe_changes(CHANNEL_REST, old, old), [])
        self.assertNotIn('#sesame', str(describe_changes(BASIC_AUTH, None, API[1])))
