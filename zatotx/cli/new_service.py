"""`zatotx new service`: generates a service with a test and a channel."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from shlex import quote
from typing import NamedTuple

import click

from zatotx.cli.errors import CommandError


class IODeclarationTemplate(NamedTuple):
    """The template fragments for one way of declaring input and output."""

    imports: str
    models: str
    declared: str
    answer: str  # the statement in `handle` that sets the response
    body: str  # the response to {'name': 'Ada'}


STYLES = {
    'short': IODeclarationTemplate(
        imports='from zatotx import Int, Service\n',
        models='',
        declared="""\
    input = 'name', Int('-times', default=1)  # '-' = optional
    output = 'greeting'
""",
        answer="self.response.payload = {'greeting': greeting}",
        body="{'greeting': 'Hello Ada!'}",
    ),
    'simple': IODeclarationTemplate(
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
    'typed': IODeclarationTemplate(
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


MAX_NAME_LENGTH = 100  # maximum characters of a name, which is also a file name
_NAME = re.compile(r'[a-z][a-z0-9]*([-_][a-z0-9]+)*(\.[a-z0-9]+([-_][a-z0-9]+)*)*')
_WORDS = re.compile(r'[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+|[A-Z]')
NAME_RULE = "use lower-case letters and digits, '-' between words and '.' between parts, beginning with a letter"


class GeneratedNames(NamedTuple):
    """The names derived from the name of a service."""

    service: str  # crm.get-balance
    module: str  # crm_get_balance
    cls: str  # GetBalance
    url_path: str  # /crm/get-balance

    @property
    def files(self) -> dict[str, str]:
        """The files to write, by template."""
        return {
            'service': f'services/{self.module}.py',
            'test': f'tests/test_{self.module}.py',
            'channel': f'channels/{self.module}.yaml',
        }


@click.group(epilog='\b\nExamples:\n  zatotx new service crm.get-balance')
def new() -> None:
    """Generate the code of a new service."""


@new.command(
    'service',
    short_help='Generate a service, its test and its channel.',
    epilog='\b\nExamples:\n  zatotx new service crm.get-balance\n'
    '  zatotx new service crm.import-orders --sync --io typed --dir ~/projects/crm',
)
@click.argument('name', help="The service's name, in lower case, with '-' between words and '.' between parts.")
@click.option('--dir', 'directory', default='.', show_default=True, type=click.Path(path_type=Path),
              help='The project directory, in which services/, tests/ and channels/ are created if missing.')
@click.option('--async/--sync', 'is_async', default=True, show_default=True,
              help='An async def, which runs in the reactor and must not block, or a def, which runs in a thread.')
@click.option('--io', 'style', default='short', show_default=True, type=click.Choice(sorted(STYLES)),
              help='How to declare input and output: as names and elements, as a SimpleIO class, or as typed models.')
def new_service(name: str, directory: Path, is_async: bool, style: str) -> None:
    """Generate a service called NAME, its test, and a channel to import with enmasse.

    The generated test passes, and the service can be deployed unchanged. Existing files are never overwritten: if there
    are any, nothing is written and the exit code is 1.
    """
    names = parse_name(name)
    texts = render_templates(names, is_async=is_async, style=style)
    write_new_files(directory, texts)
    for file in texts:
        click.echo(f'Wrote {directory / file}')
    click.echo()
    for head, command in next_commands(names, directory):
        click.echo(f'{head:12}{command}')


def parse_name(name: str) -> GeneratedNames:
    """Return all names that are derived from a service's name. Raises BadParameter, whose message contains the naming
    rule and a suggestion."""
    error = name_error(name)
    if error:
        raise click.BadParameter(f'{name!r} {error}', param_hint="'NAME'")
    module = re.sub('[.-]', '_', name)
    cls = ''.join(word.capitalize() for word in re.split('[-_]', name.rpartition('.')[2]))
    if keyword.iskeyword(cls) or not cls.isidentifier() or shadows_imported_class(cls):
        cls = f'Service{cls}' if not cls.isidentifier() else f'{cls}Service'
    return GeneratedNames(name, module, cls, '/' + name.replace('.', '/'))


def shadows_imported_class(cls: str) -> bool:
    """Return whether a class with the given name would shadow a class that services import."""
    import zatotx

    return cls in zatotx.__all__ or cls in ('GreetingRequest', 'Greeting')


def name_error(name: str) -> str:
    """Return an error message if a name is invalid, otherwise ''."""
    if len(name) > MAX_NAME_LENGTH:
        return f'has {len(name)} characters, the maximum is {MAX_NAME_LENGTH}'
    if not _NAME.fullmatch(name):
        proposal = suggest_name(name)
        return f'is not a valid service name: {NAME_RULE}' + (f'. Try {proposal!r}' if proposal else '')
    if name.startswith('zato.') or name == 'zato':
        return "is reserved: names that begin with 'zato.' are internal services"
    if re.split('[._-]', name)[0] in ('test', 'tests', 'conftest'):
        return 'would create a file that test runners take for a test: begin the name with another word'
    return ''


def suggest_name(name: str) -> str:
    """Return a valid name that consists of the words of an invalid name, or '' if there is none."""
    parts = ['-'.join(word.lower() for word in _WORDS.findall(part)) for part in re.split(r'[./\\:]+', name)]
    proposal = '.'.join(part for part in parts if part).lstrip('0123456789-.')
    return proposal if _NAME.fullmatch(proposal) and proposal != name and not name_error(proposal) else ''


def render_templates(names: GeneratedNames, *, is_async: bool, style: str) -> dict[str, str]:
    """Return the contents of all files that the scaffold consists of."""
    io = STYLES[style]
    values = {
        **names._asdict(), 'file': names.files['service'], 'test': names.files['test'], 'imports': io.imports,
        'models': io.models, 'declared': io.declared, 'answer': io.answer, 'body': io.body,
        'define': 'async def' if is_async else 'def',
    }  # fmt: skip
    templates = {'service': SERVICE, 'test': TEST, 'channel': CHANNEL}
    return {file: templates[kind].format(**values) for kind, file in names.files.items()}


def write_new_files(directory: Path, texts: dict[str, str]) -> None:
    """Write all files, or none if one of them exists. Raises CommandError, whose message lists the files that already
    exist."""
    existing = [str(directory / file) for file in texts if (directory / file).exists()]
    if existing:
        verb = 'exists already' if len(existing) == 1 else 'exist already'
        raise CommandError(f'{", ".join(existing)} {verb}: nothing was written. Choose another name or another --dir.')
    written: list[Path] = []
    try:
        for file, text in texts.items():
            path = directory / file
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open('x', encoding='utf-8') as stream:
                written.append(path)
                stream.write(text)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise


def next_commands(names: GeneratedNames, directory: Path) -> list[tuple[str, str]]:
    """Return the commands that the user should run next."""
    service, test, channel = (quote(str(directory / file)) for file in names.files.values())
    return [
        ('Test it', f'trial {test}   # or: pytest {test}'),
        ('Deploy it', f'zatotx hot-deploy PATH {service}'),
        ('Expose it', f'zatotx enmasse PATH --import --input {channel}'),
        ('Call it', f"curl http://127.0.0.1:17010{names.url_path} -d '{{\"name\": \"Ada\"}}'"),
    ]
