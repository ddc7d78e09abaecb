"""The templates of `zatotx new`."""

from __future__ import annotations

from typing import NamedTuple


class ServiceStyle(NamedTuple):
    """One way to declare input and output: the fragments to insert into the templates."""

    imports: str
    models: str
    declared: str
    answer: str  # the statement in `handle` that sets the response
    body: str  # the response to {'name': 'Ada'}


STYLES = {
    'short': ServiceStyle(
        imports='from zatotx import Int, Service\n',
        models='',
        declared="""\
    input = 'name', Int('-times', default=1)  # '-' = optional
    output = 'greeting'
""",
        answer="self.response.payload = {'greeting': greeting}",
        body="{'greeting': 'Hello Ada!'}",
    ),
    'simple': ServiceStyle(
        imports='from zatotx import Int, Service\n',
        models='',
        declared="""\

    class SimpleIO:
        input_required = ('name',)
        input_optional = (Int('times', default=1),)
        output_required = ('greeting',)
""",
        answer='self.response.payload.greeting = greeting',
        body="{'response': {'greeting': 'Hello Ada!'}}",
    ),
    'typed': ServiceStyle(
        imports='import msgspec\nfrom zatotx import Service\n',
        models="""\


class GreetingRequest(msgspec.Struct):
    name: str
    times: int = 1


class Greeting(msgspec.Struct):
    greeting: str
""",
        declared="""\
    input = GreetingRequest
    output = Greeting
""",
        answer='self.response.payload = Greeting(greeting)',
        body="{'greeting': 'Hello Ada!'}",
    ),
}

SERVICE = '''\
"""{service}: describe its purpose in one sentence."""

{imports}{models}

class {cls}(Service):
    """Describe in one sentence what the service does, for the API documentation."""

    name = '{service}'
{declared}
    {define} handle(self):
        request = self.request.input
        greeting = ' '.join([f'Hello {{request.name}}!'] * request.times)
        {answer}
'''

TEST = '''\
"""Tests of {file}, in memory: trial {test}, or pytest."""

from pathlib import Path

from zatotx import BadRequest
from zatotx.testing import ServiceTestCase, load

services = load(Path(__file__).parent.parent / '{file}')


class {cls}Tests(ServiceTestCase):
    def test_response(self):
        response = self.call(services.{cls}, {{'name': 'Ada'}}, through_channel=True)
        self.assertEqual((response.status, response.json()), (200, {body}))

    def test_repetition(self):
        response = self.call(services.{cls}, {{'name': 'Ada', 'times': 2}}, through_channel=True)
        self.assertIn('Hello Ada! Hello Ada!', response.text)

    def test_invalid_input(self):
        with self.assertRaises(BadRequest) as caught:
            self.call(services.{cls}, {{'times': 'x'}})
        self.assertEqual(caught.exception.details, '$.name: missing; $.times: expected int, got str')
'''

CHANNEL = """\
# The channel of {service}: zatotx enmasse PATH --import --input {module}.yaml
channel_rest:
  - name: {service}
    url_path: {url_path}
    service: {service}
    method: POST
    security: null  # no authentication; set it to the name of a security definition
    data_format: json
"""
