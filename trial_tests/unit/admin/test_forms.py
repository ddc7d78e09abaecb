"""Forms drawn from descriptions, and the requests that they become."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.cluster_api import TYPES
from zatotx.admin.forms import Control, Form, FormData, build_form, known_errors, to_request
from zatotx.admin.type_catalog import FieldDescription, TypeDescription
from zatotx.api.object_type_descriptions import describe_type

REST = msgspec.convert(describe_type(TYPES['channel_rest'], TYPES), TypeDescription)
BASIC = msgspec.convert(describe_type(TYPES['basic_auth'], TYPES), TypeDescription)
OUTGOING = msgspec.convert(describe_type(TYPES['outgoing_rest'], TYPES), TypeDescription)


def all_controls(form: Form) -> Iterator[Control]:
    """All controls, nested ones too."""
    for control in (*form.first, *form.more):
        yield control
        yield from control.controls


def as_browser(form: Form) -> dict[str, list[str]]:
    """What a browser sends for a form that nobody has changed."""
    data: dict[str, list[str]] = {}
    for control in all_controls(form):
        value = control.value
        if control.control == 'group':
            if control.is_optional and value:
                data[f'{control.name}.'] = ['true']
            if control.was_used:
                data[f'{control.name}.was'] = ['1']
        elif control.control == 'checkbox':
            if value:
                data[control.name] = ['true']
        elif isinstance(value, list):
            if value:
                data[control.name] = value
        elif control.control != 'none':
            data[control.name] = [value]
    return data


class FormTests(SynchronousTestCase):
    def control(self, form: Form, name: str) -> Control:
        return next(control for control in all_controls(form) if control.name == name)

    def test_every_field_has_a_control(self) -> None:
        """The forms of all types have a control for every field, the name first, with label and help."""
        for object_type in TYPES:
            if object_type.zato is not None:
                description = msgspec.convert(describe_type(object_type, TYPES), TypeDescription)
                form = build_form(description, choices={one.name: ['x'] for one in description.fields if one.reference})
                names = {control.name for control in all_controls(form)}
                self.assertLessEqual(description.field_names, names, object_type.key)
                self.assertEqual(form.first[0].name, 'name')
                self.assertTrue(all(control.label for control in all_controls(form)))

    def test_labels(self) -> None:
        """The labels are those by which people and programs find the controls."""
        for description, labels in (
            (BASIC, {'Name', 'Active', 'Username', 'Password', 'Realm'}),
            (REST, {'Name', 'URL path', 'Service', 'Security', 'Method', 'Data format'}),
            (OUTGOING, {'Name', 'Host', 'URL path', 'Security', 'Method', 'Data format', 'Timeout'}),
        ):
            self.assertLessEqual(labels, {control.label for control in build_form(description).first})

    def test_controls(self) -> None:
        """The control follows from type, choices, references and secrecy."""
        form = build_form(REST, choices={'service': ['a'], 'security': ['b'], 'groups': [], 'rate_limits': ['c']})
        controls = {name: self.control(form, name).control for name in (
            'name', 'is_active', 'service', 'security', 'groups', 'rate_limits', 'data_format', 'timeout', 'cors',
            'roles')}
        self.assertEqual(controls, {
            'name': 'text', 'is_active': 'checkbox', 'service': 'suggest', 'security': 'select', 'groups': 'none',
            'rate_limits': 'select', 'data_format': 'select', 'timeout': 'number', 'cors': 'group', 'roles': 'lines'})
        self.assertEqual(self.control(form, 'security').options, [('', 'None'), ('b', 'b')])
        many = build_form(REST, choices={'security': [str(number) for number in range(51)]})
        self.assertEqual(self.control(many, 'security').control, 'suggest')
        self.assertEqual(self.control(build_form(BASIC), 'password').control, 'password')

    def test_what_is_unchanged_stays(self) -> None:
        """Saving a form that nobody has changed sends the values that the object has."""
        row: dict[str, Any] = {
            'id': 7, 'name': 'x', 'is_active': False, 'url_path': '/x', 'service': 's', 'service_name': 's',
            'security_id': 3, 'security_name': '12', 'groups': ['g1', 'g2'], 'roles': ['a', 'b'], 'timeout': 2.5,
            'max_in_flight': '', 'method': '', 'data_format': 'json', 'cors': {'origins': ['https://a']}, 'etag': True,
            'rate_limits': [], 'queue': 0, 'queue_timeout': 10.0, 'public_url': '', 'compress': True,
        }  # fmt: skip
        choices = {'service': ['s'], 'security': ['12'], 'groups': ['g1', 'g2', 'g3'], 'rate_limits': []}
        sent = to_request(REST, as_browser(build_form(REST, row=row, choices=choices)))
        expected = {'name': 'x', 'is_active': False, 'url_path': '/x', 'service': 's', 'security': '12',
                    'groups': ['g1', 'g2'], 'roles': ['a', 'b'], 'timeout': '2.5', 'max_in_flight': '',
                    'data_format': 'json', 'etag': True, 'queue': '0', 'rate_limits': [], 'connection': 'channel',
                    'transport': 'plain_http'}  # fmt: skip
        self.assertEqual({name: sent[name] for name in expected}, expected)
        self.assertEqual(sent['cors']['origins'], ['https://a'])

    def test_secrets(self) -> None:
        """A stored secret is not shown, what was typed is not sent back, and an empty one is not sent."""
        row = {'id': 1, 'name': 'x', 'username': 'u', 'realm': '', 'password': 'leaked'}
        form = build_form(BASIC, row=row)
        self.assertEqual(self.control(form, 'password').value, '')
        typed: FormData = {'name': ['x'], 'username': ['u'], 'password': ['typed']}
        self.assertEqual(self.control(build_form(BASIC, row=row, typed=typed), 'password').value, '')
        self.assertNotIn('password', to_request(BASIC, {**typed, 'password': ['']}))
        self.assertEqual(to_request(BASIC, typed)['password'], 'typed')

    def test_optional_groups(self) -> None:
        """A group is used if its box is checked or one of its fields has a value, and not any more if the box of one in
        use is not checked."""
        for typed, expected in (
            ({}, None), ({'retry.': ['true']}, {}), ({'retry.attempts': ['3']}, {'attempts': '3'}),
            ({'retry.attempts': ['3'], 'retry.was': ['1']}, None),
            ({'retry.attempts': ['3'], 'retry.was': ['1'], 'retry.': ['true']}, {'attempts': '3'}),
        ):
            self.assertEqual(to_request(OUTGOING, typed)['retry'], expected, typed)

    def test_errors(self) -> None:
        """Errors stand beside their controls, under the name in the request or the field's own; others are left."""
        errors = {'security_id': 'is unknown', 'cors.origins': 'is empty', 'timeout': 'must be > 0', 'elsewhere': 'bad'}
        form = build_form(REST, typed={'name': ['x']}, errors=errors)
        found = {control.name: control.error for control in all_controls(form) if control.error}
        self.assertEqual(found, {'security': 'is unknown', 'cors.origins': 'is empty', 'timeout': 'must be > 0'})
        self.assertTrue(form.has_error_in_more)
        self.assertEqual(known_errors(REST, errors), {'security_id', 'cors.origins', 'timeout'})

    def test_values_of_any_type(self) -> None:
        """A field that takes several types takes JSON, and other text as it is."""
        one = FieldDescription(name='tls', zato_name='tls', label='TLS', kind='any')
        description = TypeDescription(key='x', title='X', heading='Xs', area='Other', prefix='x', fields=(one,))
        for text, value in (('true', True), ('{"a": 1}', {'a': 1}), ('implicit', 'implicit'), ('', None), ('5', 5)):
            self.assertEqual(to_request(description, {'tls': [text]})['tls'], value)
        for value, text in ((True, 'true'), ('implicit', 'implicit'), ({'a': 1}, '{"a": 1}'), (None, '')):
            form = build_form(description, row={'tls': value})
            self.assertEqual(form.first[0].value, text)
