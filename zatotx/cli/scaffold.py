"""What `zatotx new` writes."""

from __future__ import annotations

from typing import NamedTuple


class ServiceStyle(NamedTuple):
    """One way to declare input and output: its parts of the files."""

    imports: str
    models: str
    declared: str
    answer: str  # how `handle` sets the answer
    body: str  # what a client gets for {'name': 'Ada'}


IO = {
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


class Asked(msgspec.Struct):
    name: str
    times: int = 1


class Greeting(msgspec.Struct):
    greeting: str
""",
        declared="""\
    input = Asked
    output = Greeting
""",
        answer='self.response.payload = Greeting(greeting)',
        body="{'greeting': 'Hello Ada!'}",
    ),
}

SERVICE = '''\
"""{service}: what it is for, in a sentence."""

{imports}{models}

class {cls}(Service):
    """What it does, in a sentence: it stands in the documentation of the API."""

    name = '{service}'
{declared}
    {define} handle(self):
        asked = self.request.input
        greeting = ' '.join([f'Hello {{asked.name}}!'] * asked.times)
        {answer}
'''

TEST = '''\
"""Tests of {file}, in memory: trial {test}, or pytest."""

from pathlib import Path

from zatotx import BadRequest
from zatotx.testing import ServiceTestCase, load

services = load(Path(__file__).parent.parent / '{file}')


class {cls}Tests(ServiceTestCase):
    def test_answers(self):
        answer = self.call(services.{cls}, {{'name': 'Ada'}}, through_channel=True)
        self.assertEqual((answer.status, answer.json()), (200, {body}))

    def test_as_often_as_asked(self):
        answer = self.call(services.{cls}, {{'name': 'Ada', 'times': 2}}, through_channel=True)
        self.assertIn('Hello Ada! Hello Ada!', answer.text)

    def test_every_mistake_is_named(self):
        with self.assertRaises(BadRequest) as caught:
            self.call(services.{cls}, {{'times': 'x'}})
        self.assertEqual(caught.exception.details, '$.name: missing; $.times: expected int, got str')
'''

CHANNEL = """\
# Where {service} is reached: zatotx enmasse PATH --import --input {module}.yaml
channel_rest:
  - name: {service}
    url_path: {url_path}
    service: {service}
    method: POST
    security: null  # open to everybody; name a definition to ask for its credentials
    data_format: json
"""
