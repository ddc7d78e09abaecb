"""Tests of object types, their fields, validation, lenient conversion and documentation."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.odb import TYPES
from zatotx.plugins.http.schema import CHANNEL_REST, RestChannel
from zatotx.schema import object_type_docs
from zatotx.schema.meta import NO_DEFAULT, ObjectType, ZatoApi, field, fields_of, reference_fields
from zatotx.schema.references import SnapshotReferences, find_dangling_references
from zatotx.schema.secrets import ConfigObject
from zatotx.schema.service_config import SERVICE, ServiceConfig
from zatotx.schema.snapshot import Operation, Snapshot, StoredObject
from zatotx.schema.type_registry import ObjectTypeRegistry, namespace_of
from zatotx.schema.validation import parse_request_fields, validate, validate_edit
from zatotx.security.basic_auth import BASIC_AUTH, BasicAuth

CHANNEL: dict[str, Any] = {'name': 'c', 'url_path': '/c', 'service': 's'}


class Everything(ConfigObject, frozen=True, kw_only=True):
    """A Struct with a field of each kind."""

    name: Annotated[str, field('Its name')]
    count: Annotated[int, field('How many', ge=0, le=9)] = 1
    share: Annotated[float, field('How much of it')] = 0.5
    on: Annotated[bool, field('Whether')] = True
    since: Annotated[datetime | None, field('From when')] = None
    tags: Annotated[list[Annotated[str, msgspec.Meta(min_length=1)]], field('Words')] = msgspec.field(
        default_factory=list
    )
    text: Annotated[str | None, field('Some | text')] = None


EVERYTHING = ObjectType(key='everything', struct=Everything, section='everything')


def errors(object_type: ObjectType, document: dict[str, Any]) -> dict[str, str]:
    """Returns the errors as path -> error."""
    value, found = validate(object_type, document)
    assert (value is None) == bool(found)
    return dict(found)


class TypesTests(SynchronousTestCase):
    def test_found_by_key_space_and_zato_face(self) -> None:
        """A type is found by key, by section and by zato.* prefix."""
        self.assertIs(TYPES['channel_rest'], CHANNEL_REST)
        self.assertIs(TYPES.get('nothing'), None)
        self.assertIn('service', TYPES)
        self.assertEqual(len(TYPES), len(list(TYPES)))
        self.assertIn(TYPES['basic_auth'], TYPES.in_namespace('security'))
        self.assertEqual(TYPES.in_namespace('service'), (SERVICE,))
        self.assertEqual(TYPES.in_namespace('nothing'), ())
        self.assertEqual(TYPES.sections[:2], ('security', 'groups'))
        self.assertNotIn('', TYPES.sections)
        self.assertEqual((namespace_of(BASIC_AUTH), namespace_of(SERVICE)), ('security', 'service'))
        rest = {'connection': 'channel', 'transport': 'plain_http', 'cluster_id': 1}
        self.assertIs(TYPES.find_by_zato_prefix('http-soap', rest), CHANNEL_REST)
        self.assertIs(TYPES.find_by_zato_prefix('http-soap', {**rest, 'connection': 'another'}), None)
        self.assertIs(TYPES.find_by_zato_prefix('security.basic-auth'), TYPES['basic_auth'])

    def test_every_mistake_in_the_types_is_named(self) -> None:
        """All errors of the declarations are reported: duplicate keys, section and tag, or zato.* prefix; a Struct
        without a name; a dangling reference; a secret with bounds that its stored form would violate."""

        class Nameless(msgspec.Struct):
            title: str

        class Lost(msgspec.Struct):
            name: str
            to: Annotated[str, msgspec.Meta(extra={'ref': 'nowhere'})] = ''
            key: Annotated[str, msgspec.Meta(extra={'secret': 'encrypted'}, max_length=8)] = ''

        twin = ObjectType(
            key='basic_auth', struct=BasicAuth, section='security', tag='basic_auth', zato=BASIC_AUTH.zato
        )
        error = self.assertRaises(
            ValueError,
            ObjectTypeRegistry,
            (
                BASIC_AUTH,
                twin,
                ObjectType(key='nameless', struct=Nameless, section=''),
                ObjectType(key='lost', struct=Lost, section=''),
            ),
        )
        for part in ('the key', 'section and tag', 'Zato prefix', 'nameless', 'lost.to', "'nowhere'", 'lost.key'):
            self.assertIn(part, str(error))

    def test_a_type_that_is_no_struct_is_refused(self) -> None:
        """A type that is not a Struct raises an error with a sentence."""
        error = self.assertRaises(TypeError, fields_of, ObjectType(key='x', struct=dict, section=''))
        self.assertIn('is not a msgspec.Struct', str(error))


class FieldsTests(SynchronousTestCase):
    def test_fields_are_read_with_all_that_is_said_of_them(self) -> None:
        """Kind, bounds, default, description, reference and secret are read from any depth of the annotation."""
        found = {f.name: f for f in fields_of(EVERYTHING)}
        self.assertEqual(
            {name: f.kind for name, f in found.items()},
            {
                'name': 'text',
                'count': 'int',
                'share': 'float',
                'on': 'bool',
                'since': 'datetime',
                'tags': 'list',
                'text': 'text',
            },
        )
        self.assertEqual(found['count'].bounds, {'ge': 0, 'le': 9})
        self.assertEqual((found['count'].default, found['tags'].default, found['name'].default), (1, [], NO_DEFAULT))
        self.assertEqual([n for n, f in found.items() if f.required], ['name'])
        self.assertEqual([n for n, f in found.items() if f.optional], ['since', 'text'])
        rest = {f.name: f for f in fields_of(CHANNEL_REST)}
        self.assertEqual((rest['service'].ref, rest['security'].ref), ('service', 'security'))
        self.assertIn('HTTP method', rest['method'].description)
        self.assertIn('pattern', rest['method'].bounds)
        self.assertEqual({f.name: f.secret for f in fields_of(BASIC_AUTH) if f.secret}, {'password': 'both'})

    def test_every_field_of_every_type_is_described(self) -> None:
        """Every field has a description, which the docs and the CLI's help need."""
        self.assertEqual([f'{t.key}.{f.name}' for t in TYPES for f in fields_of(t) if not f.description], [])


class ValidateTests(SynchronousTestCase):
    def test_a_good_document_is_its_struct(self) -> None:
        """A valid document becomes the Struct, with defaults and resolved aliases."""
        value, found = validate(CHANNEL_REST, {**CHANNEL, 'data_format': 'post', 'timeout': 5})
        self.assertEqual(found, [])
        self.assertEqual(value, RestChannel(name='c', url_path='/c', service='s', data_format='form', timeout=5.0))

    def test_every_mistake_is_named_with_its_path(self) -> None:
        """All errors are reported at once: unknown, missing, wrong type, out of bounds, invalid choice, wrong form."""
        found = errors(
            CHANNEL_REST,
            {
                'url_path': 'no-slash',
                'service': '',
                'methd': 'GET',
                'method': 'get',
                'is_active': 'yes',
                'timeout': 0,
                'data_format': 'yaml',
            },
        )
        self.assertEqual(
            set(found), {'name', 'url_path', 'service', 'methd', 'method', 'is_active', 'timeout', 'data_format'}
        )
        self.assertEqual(found['name'], 'missing')
        self.assertEqual(found['methd'], 'unknown, did you mean method?')
        self.assertEqual(found['is_active'], 'expected bool, got str')
        self.assertEqual(found['timeout'], 'expected float > 0.0')
        self.assertIn("got 'yaml'", found['data_format'])

    def test_a_path_leads_into_a_value(self) -> None:
        """Error paths include the index of an element."""
        self.assertEqual(errors(EVERYTHING, {'name': 'x', 'tags': ['a', 3]}), {'tags[1]': 'expected str, got int'})

    def test_an_unknown_key_that_is_near_nothing_is_just_unknown(self) -> None:
        """Dissimilar names are not suggested."""
        self.assertEqual(errors(CHANNEL_REST, {**CHANNEL, 'qqq': 1}), {'qqq': 'unknown'})

    def test_text_that_no_database_can_keep_is_a_mistake(self) -> None:
        """NUL and lone surrogates are rejected; other Unicode is accepted."""
        self.assertIn('NUL', errors(CHANNEL_REST, {**CHANNEL, 'name': 'a\0b'})['name'])
        self.assertIn('Unicode', errors(CHANNEL_REST, {**CHANNEL, 'name': 'a\ud800'})['name'])
        for name in ('żółw', 'ÅNGSTRÖM', '🐢', 'e\u0301', ' spaced ', "quote'\"", '{x}'):
            self.assertEqual(errors(CHANNEL_REST, {**CHANNEL, 'name': name}), {})

    def test_a_path_must_be_one_the_router_can_serve(self) -> None:
        """A channel's path must be a valid pattern outside the built-in endpoints."""
        for path in ('', 'x', '/zato', '/zato/ping', '/{', '/{a}/{a}', '/x?y=1'):
            self.assertIn('url_path', errors(CHANNEL_REST, {**CHANNEL, 'url_path': path}), path)
        for path in ('/', '/zatotx', '/a/{b}', '/a/{b:path}'):
            self.assertEqual(errors(CHANNEL_REST, {**CHANNEL, 'url_path': path}), {}, path)

    def test_a_user_name_must_fit_into_basic_credentials(self) -> None:
        """RFC 7617: no colon and no control characters; UTF-8 is accepted."""
        for username in ('a:b', 'a\nb', 'a\x7f', ''):
            self.assertIn('username', errors(BASIC_AUTH, {'name': 'u', 'username': username}), username)
        self.assertIn('realm', errors(BASIC_AUTH, {'name': 'u', 'username': 'u', 'realm': 'a\r\nb'}))
        self.assertEqual(errors(BASIC_AUTH, {'name': 'u', 'username': 'jürgen 🐢'}), {})

    def test_no_mistake_shows_a_secret(self) -> None:
        """No error contains a secret."""
        for secret in (['sEcReT'], 'sEcReT\0', {'a': 'sEcReT'}):
            self.assertNotIn('sEcReT', str(errors(BASIC_AUTH, {'name': 'u', 'username': 'u', 'password': secret})))

    def test_what_one_field_cannot_say_the_type_can(self) -> None:
        """ObjectType.check validates the whole Struct."""

        def check(value: Everything) -> list[tuple[str, str]]:
            return [('share', 'must be 0 where count is 0')] if value.count == 0 and value.share else []

        checked = msgspec.structs.replace(EVERYTHING, validate=check)
        self.assertEqual(errors(checked, {'name': 'x', 'count': 0}), {'share': 'must be 0 where count is 0'})
        self.assertEqual(errors(checked, {'name': 'x', 'count': 0, 'share': 0}), {})

    def test_an_edit_is_checked_with_what_stays(self) -> None:
        """An edit validates the changed fields together with the current ones."""
        current = Everything(name='x', count=3)
        self.assertEqual(validate_edit(EVERYTHING, current, {'on': False})[0], Everything(name='x', count=3, on=False))
        self.assertEqual(validate_edit(EVERYTHING, current, {'count': 10})[1], [('count', 'expected int <= 9')])


class DoorTests(SynchronousTestCase):
    def setUp(self) -> None:
        snapshot = Snapshot(
            1,
            [
                StoredObject(7, 'basic_auth', BasicAuth(name='api', username='api'), 1),
                StoredObject(8, 'basic_auth', BasicAuth(name='7', username='seven'), 1),
                StoredObject(9, 'service', ServiceConfig(name='echo'), 1),
                StoredObject(10, 'service', ServiceConfig(name='9'), 1),
            ],
        )
        self.references = SnapshotReferences(snapshot, TYPES)

    def rest(self, **request: Any) -> dict[str, Any]:
        return parse_request_fields(CHANNEL_REST, request, self.references)

    def every(self, **request: Any) -> dict[str, Any]:
        return parse_request_fields(EVERYTHING, request, self.references)

    def test_text_becomes_what_the_field_is(self) -> None:
        """Text becomes numbers, booleans in all spellings, and dates, in UTC without a zone."""
        self.assertEqual(
            self.every(name='5', count='5', share='0.25', on='Yes', since='2026-01-02T03:04:05'),
            {'name': '5', 'count': 5, 'share': 0.25, 'on': True, 'since': datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)},
        )
        for text in ('true', 't', 'y', '1', 'on', 'TRUE'):
            self.assertIs(self.every(on=text)['on'], True)
        for text in ('false', 'no', 'f', 'n', '0', 'off'):
            self.assertIs(self.every(on=text)['on'], False)
        self.assertEqual(self.every(since='2026-01-02T03:04:05+02:00')['since'].utcoffset().total_seconds(), 7200)

    def test_what_is_none_of_it_stays_for_validation_to_name(self) -> None:
        """Invalid text is left unchanged for validation."""
        given = {'count': 'many', 'share': 'nan', 'on': 'perhaps', 'since': 'today', 'name': 'x'}
        self.assertEqual(self.every(**given), given)
        self.assertEqual(set(errors(EVERYTHING, self.every(**given))), {'count', 'share', 'on', 'since'})
        self.assertEqual(self.every(count='9' * 5000)['count'], '9' * 5000)
        self.assertEqual(self.every(count='1_0')['count'], '1_0')

    def test_empty_text_is_no_value(self) -> None:
        """Empty text is None for an optional field, and a missing value for a number or boolean."""
        self.assertEqual(
            self.every(name='x', count='', on=' ', since='', text=''), {'name': 'x', 'since': None, 'text': None}
        )
        self.assertEqual(self.rest(method='', data_format=''), {'method': None, 'data_format': ''})

    def test_unknown_fields_are_ignored(self) -> None:
        """cluster_id and other fields of Zato's clients are ignored."""
        self.assertEqual(self.rest(cluster_id=1, connection='channel', name='x'), {'name': 'x'})

    def test_references_come_as_ids_or_names(self) -> None:
        """Text is an id if Zato's field name ends in id, otherwise first a name; numbers are ids."""
        self.assertEqual(self.rest(security_id='7', service='9'), {'security': 'api', 'service': '9'})
        self.assertEqual(self.rest(security_id=7, service=9), {'security': 'api', 'service': 'echo'})
        self.assertEqual(self.rest(security='7', service='echo'), {'security': '7', 'service': 'echo'})
        self.assertEqual(self.rest(security_id='api'), {'security': 'api'})

    def test_no_reference_has_many_names(self) -> None:
        """ZATO_NONE and similar values mean no reference."""
        for nothing in ('ZATO_NONE', 'zato_none', 'None', '', None, 'zato-no-security'):
            self.assertEqual(self.rest(security_id=nothing), {'security': None})

    def test_a_reference_to_nothing_is_left_for_a_mistake(self) -> None:
        """Unknown ids, ids of objects of another kind and invalid references are left for validation."""
        for given in ('99', 99, 9):
            self.assertEqual(self.rest(security_id=given), {'security': str(given)})
        self.assertEqual(self.rest(security_id=True), {'security': True})
        self.assertEqual(
            find_dangling_references(
                self.references, reference_fields(CHANNEL_REST), {'security': '99', 'service': 'echo', 'name': 'x'}
            ),
            [('security', "there is no security called '99'")],
        )

    def test_names_become_ids_again(self) -> None:
        """Names are converted to ids for responses."""
        self.assertEqual(self.references.id_of('security', 'api'), 7)
        self.assertEqual(self.references.id_of('security', 'echo'), None)


class SilenceTests(SynchronousTestCase):
    def test_no_repr_shows_a_secret(self) -> None:
        """The reprs of objects, containers and changes contain no secrets."""
        value = BasicAuth(name='u', username='u', password='sEcReT')
        fields = {'name': 'u', 'username': 'u', 'password': 'sEcReT'}
        for shown in (value, StoredObject(1, 'basic_auth', value, 1), Operation(
            action='create', type='basic_auth', name='u', fields=fields
        )):
            self.assertNotIn('sEcReT', repr(shown))
            self.assertIn("'u'", repr(shown))


class DocsTests(SynchronousTestCase):
    def test_a_type_describes_itself(self) -> None:
        """The table has one row per field, in Markdown that texts cannot break."""
        table = object_type_docs.make_field_table(EVERYTHING)
        self.assertIn('| `count` | int >= 0 <= 9 | 1 | How many |', table)
        self.assertIn('Some \\| text', table)
        self.assertEqual(len(table.splitlines()), 2 + len(fields_of(EVERYTHING)))
        self.assertIn('Usable types: apikey, basic_auth, jwt', object_type_docs.make_field_table(CHANNEL_REST, TYPES))

    def test_a_field_describes_itself_in_a_line(self) -> None:
        """Help for the CLI is one line."""
        found = {f.name: object_type_docs.field_help(f) for f in fields_of(CHANNEL_REST)}
        self.assertEqual(found['service'], 'Service to invoke (name (service); required)')
        self.assertEqual(found['method'], 'HTTP method, in capitals; none = any (text; default: none)')
        secret = {f.name: object_type_docs.field_help(f) for f in fields_of(BASIC_AUTH)}['password']
        self.assertIn('(text secret; default: (empty))', secret)

    def test_the_zato_face_has_defaults(self) -> None:
        """ZatoApi has four default actions, as most of Zato's prefixes."""
        self.assertEqual(ZatoApi(prefix='x').actions, ('create', 'edit', 'delete', 'get-list'))
