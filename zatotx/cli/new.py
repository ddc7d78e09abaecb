"""`zatotx new service`: a service with its test and its channel, to begin with."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from shlex import quote
from typing import NamedTuple

import click

from zatotx.cli.errors import CommandError
from zatotx.cli.scaffold import CHANNEL, IO, SERVICE, TEST

LONGEST = 100  # characters of a name, which is a file's too
_NAME = re.compile(r'[a-z][a-z0-9]*([-_][a-z0-9]+)*(\.[a-z0-9]+([-_][a-z0-9]+)*)*')
_WORDS = re.compile(r'[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+|[A-Z]')
RULE = "it has lower-case letters and digits, '-' between words and '.' between parts, and begins with a letter"


class ScaffoldNames(NamedTuple):
    """What a service is called in each of the places it has one."""

    service: str  # crm.get-balance
    module: str  # crm_get_balance
    cls: str  # GetBalance
    url_path: str  # /crm/get-balance

    @property
    def files(self) -> dict[str, str]:
        """What is written, by template."""
        return {
            'service': f'services/{self.module}.py',
            'test': f'tests/test_{self.module}.py',
            'channel': f'channels/{self.module}.yaml',
        }


@click.group(epilog='\b\nExamples:\n  zatotx new service crm.get-balance')
def new() -> None:
    """Write the beginnings of something of your own."""


@new.command(
    'service',
    short_help='Write a service called NAME, its test and its channel.',
    epilog='\b\nExamples:\n  zatotx new service crm.get-balance\n'
    '  zatotx new service crm.import-orders --sync --io typed --dir ~/projects/crm',
)
@click.argument('name', help="What it is called, in lower case, with '-' between words and '.' between parts.")
@click.option('--dir', 'directory', default='.', show_default=True, type=click.Path(path_type=Path),
              help='The project: services/, tests/ and channels/ are made in it where they are missing.')
@click.option('--async/--sync', 'is_async', default=True, show_default=True,
              help='An async def, which runs on the reactor and must not block, or a def, which runs in a thread.')
@click.option('--io', 'style', default='short', show_default=True, type=click.Choice(sorted(IO)),
              help='How input and output are declared: as names and elements, as a SimpleIO class, as typed models.')
def new_service(name: str, directory: Path, is_async: bool, style: str) -> None:
    """Write a service called NAME, its test, and a channel to import by enmasse.

    The test passes as it is and the service can be deployed as it is. A file that is there already is never
    overwritten: then nothing is written, and the exit code is 1.
    """
    names = parse_name(name)
    texts = render(names, is_async=is_async, style=style)
    write_all(directory, texts)
    for file in texts:
        click.echo(f'Wrote {directory / file}')
    click.echo()
    for head, command in next_steps(names, directory):
        click.echo(f'{head:12}{command}')


def parse_name(name: str) -> ScaffoldNames:
    """All names of a service. Raises BadParameter with the rule, and with a name that would do."""
    wrong = name_error(name)
    if wrong:
        raise click.BadParameter(f'{name!r} {wrong}', param_hint="'NAME'")
    module = re.sub('[.-]', '_', name)
    cls = ''.join(word.capitalize() for word in re.split('[-_]', name.rpartition('.')[2]))
    if keyword.iskeyword(cls) or not cls.isidentifier() or is_imported(cls):
        cls = f'Service{cls}' if not cls.isidentifier() else f'{cls}Service'
    return ScaffoldNames(name, module, cls, '/' + name.replace('.', '/'))


def is_imported(cls: str) -> bool:
    """Whether a class of that name would hide one that services import."""
    import zatotx

    return cls in zatotx.__all__ or cls in ('Asked', 'Greeting')


def name_error(name: str) -> str:
    """What is wrong with a name; '' = nothing."""
    if len(name) > LONGEST:
        return f'has {len(name)} characters, at most {LONGEST} may be'
    if not _NAME.fullmatch(name):
        better = suggestion(name)
        return f'is no name for a service: {RULE}' + (f'. Try {better!r}' if better else '')
    if name.startswith('zato.') or name == 'zato':
        return "is one of the broker's own names: those begin with 'zato.'"
    if re.split('[._-]', name)[0] in ('test', 'tests', 'conftest'):
        return 'would make a file that runners of tests take for their own: begin it with another word'
    return ''


def suggestion(name: str) -> str:
    """A name that would do, made of the words in this one; '' where there are none."""
    parts = ['-'.join(word.lower() for word in _WORDS.findall(part)) for part in re.split(r'[./\\:]+', name)]
    better = '.'.join(part for part in parts if part).lstrip('0123456789-.')
    return better if _NAME.fullmatch(better) and better != name and not name_error(better) else ''


def render(names: ScaffoldNames, *, is_async: bool, style: str) -> dict[str, str]:
    """The text of every file."""
    io = IO[style]
    values = {
        **names._asdict(), 'file': names.files['service'], 'test': names.files['test'], 'imports': io.imports,
        'models': io.models, 'declared': io.declared, 'answer': io.answer, 'body': io.body,
        'define': 'async def' if is_async else 'def',
    }  # fmt: skip
    templates = {'service': SERVICE, 'test': TEST, 'channel': CHANNEL}
    return {file: templates[kind].format(**values) for kind, file in names.files.items()}


def write_all(directory: Path, texts: dict[str, str]) -> None:
    """All files or none. Raises Failure naming those that are there."""
    there = [str(directory / file) for file in texts if (directory / file).exists()]
    if there:
        verb = 'is there already' if len(there) == 1 else 'are there already'
        raise CommandError(f'{", ".join(there)} {verb}: nothing was written. Choose another name or another --dir.')
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


def next_steps(names: ScaffoldNames, directory: Path) -> list[tuple[str, str]]:
    """What to do now, as commands."""
    service, test, channel = (quote(str(directory / file)) for file in names.files.values())
    return [
        ('Test it', f'trial {test}   # or: pytest {test}'),
        ('Deploy it', f'zatotx hot-deploy PATH {service}'),
        ('Address it', f'zatotx enmasse PATH --import --input {channel}'),
        ('Call it', f"curl http://127.0.0.1:17010{names.url_path} -d '{{\"name\": \"Ada\"}}'"),
    ]
