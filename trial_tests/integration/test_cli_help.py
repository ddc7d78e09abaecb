"""The help of every command says what it does, what its options mean, and how to call it. New commands are checked
automatically."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.command import zatotx
from zatotx.cli.main import cli

DOCS = Path(__file__).resolve().parents[2] / 'docs'
# Words by which an option's help says what holds where it is not given.
SAYS_DEFAULT = ('default', 'where it is not given', 'where none is given', 'asked for', 'otherwise', 'only')
SECONDS = ('timeout', 'interval', 'within', 'wait', 'grace')


def tree(command: click.Command = cli, words: tuple[str, ...] = ('zatotx',)) -> Iterator[tuple[str, click.Command]]:
    """Return every command by its full name."""
    yield ' '.join(words), command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            if not child.hidden:
                yield from tree(child, (*words, name))


def options(command: click.Command) -> list[click.Option]:
    return [one for one in command.params if isinstance(one, click.Option) and not one.hidden]


def examples(command: click.Command) -> list[str]:
    """Return the lines after `Examples:`, up to an empty one."""
    text = (command.epilog or '').partition('Examples:\n')[2].partition('\n\n')[0]
    return [line.strip() for line in text.splitlines() if line.strip()]


def simple_commands(line: str) -> Iterator[list[str]]:
    """Return the words of each command of a pipeline, without variable assignments."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if word and set(word) <= set('();<>|&'):
            yield words
            words = []
        elif words or not re.fullmatch(r'[A-Z_]+=.*', word):
            words.append(word)
    yield words


def parsed(line: str) -> tuple[click.Command, str]:
    """Return the command that an example calls, and its usage error; '' if there is none."""
    words = next((simple[1:] for simple in simple_commands(line) if simple[:1] == ['zatotx']), None)
    if words is None:
        return cli, 'it does not call zatotx'
    command: click.Command = cli
    context: click.Context | None = None
    name: str | None = 'zatotx'
    try:
        while True:
            context = command.make_context(name, words, parent=context)
            if not isinstance(command, click.Group):
                return command, ''
            name, found, words = command.resolve_command(context, [*context._protected_args, *context.args])
            assert found is not None
            command = found
    except click.exceptions.Exit:
        return command, ''  # --help and --version end there
    except click.UsageError as error:
        return command, error.format_message()


class HelpTests(SynchronousTestCase):
    def tell(self, mistakes: list[str]) -> None:
        """Fail with all errors, one sentence each."""
        self.assertEqual(mistakes, [], '\n' + '\n'.join(mistakes))

    def test_every_command_says_what_it_does(self) -> None:
        """Every command has a docstring of full sentences."""
        mistakes = []
        for path, command in tree():
            if not (command.help or '').strip():
                mistakes.append(f'{path} has no description: give its function a docstring.')
            elif not (command.help or '').split('\b')[0].strip().endswith(('.', ':', '…')):
                mistakes.append(f'{path}: its description does not end with a full stop.')
        self.tell(mistakes)

    def test_lists_are_whole(self) -> None:
        """No line in a list of commands is truncated with '...'."""
        mistakes = []
        for path, command in tree():
            if isinstance(command, click.Group):
                lines = zatotx(*path.split()[1:], '--help').out.partition('Commands:')[2].splitlines()
                mistakes += [f'{path} --help cuts off {line.split()[0]!r}: give that command a short_help.'
                             for line in lines if line.endswith('...')]
        self.tell(mistakes)

    def test_every_option_is_explained(self) -> None:
        """Every option has a help text, with its default and the unit of a duration."""
        mistakes = []
        for path, command in tree():
            for option in options(command):
                name, said = f'{path} {option.opts[0]}', option.help or ''
                if not said:
                    mistakes.append(f'{name} has no help: say what it does.')
                    continue
                if not said.endswith(('.', '…', ')')) and '://' not in said:
                    mistakes.append(f'{name}: its help does not end with a full stop.')
                plain = option.is_flag or option.required or option.multiple or option.count
                shown = option.show_default or any(word in said.lower() for word in SAYS_DEFAULT)
                if not plain and not shown:
                    mistakes.append(f'{name} does not say what holds without it: show_default=True, or "Default: …".')
                if any(word in str(option.name) for word in SECONDS) and not option.is_flag and 'econds' not in said:
                    mistakes.append(f'{name} does not say in which unit it is: seconds.')
        self.tell(mistakes)

    def test_every_argument_is_explained(self) -> None:
        """Every argument has a help text."""
        self.tell([
            f'{path} {one.make_metavar(click.Context(command))} has no help: say what it stands for.'
            for path, command in tree()
            for one in command.params if isinstance(one, click.Argument) and not one.help
        ])  # fmt: skip

    def test_every_command_has_an_example_of_itself(self) -> None:
        """The epilog of every command has an example of it; that of a group, of one of its commands."""
        mistakes = []
        for path, command in tree():
            found = [parsed(line)[0] for line in examples(command)]
            own = [one for _, one in tree(command)]
            if not any(one in own for one in found):
                mistakes.append(f"{path} has no example: epilog='\\b\\nExamples:\\n  {path} …'.")
        self.tell(mistakes)

    def test_examples_are_right(self) -> None:
        """The command line accepts every example."""
        mistakes = []
        for path, command in tree():
            for line in examples(command):
                _, wrong = parsed(line)
                if wrong:
                    mistakes.append(f'{path}: the example {line!r} is wrong usage: {wrong}')
        self.tell(mistakes)

    def test_help_fits_a_terminal(self) -> None:
        """Examples and lists are at most 100 columns wide."""
        mistakes = [f'{path}: the example {line!r} is wider than 100 columns.'
                    for path, command in tree() for line in examples(command) if len(line) > 100]
        self.tell(mistakes)

    def test_exit_codes_are_said(self) -> None:
        """`zatotx --help` lists the three exit codes."""
        said = ' '.join(zatotx('--help').out.split())
        self.assertIn('Exit codes: 0 success, 1 the command failed, 2 wrong usage', said)


class WrongUsageTests(SynchronousTestCase):
    def test_did_you_mean(self) -> None:
        """A command, a command of a group and an option that are nearly right: exit 2, one sentence, what was meant."""
        for words, meant in (
            (['statsu', 'x'], "did you mean 'status'"),
            (['deploy', 'x'], "did you mean 'hot-deploy'? See 'zatotx --help'"),
            (['service', 'invok'], "did you mean 'invoke'? See 'zatotx service --help'"),
            (['wait', '--adress', 'x'], "did you mean '--address'? See 'zatotx wait --help'"),
        ):  # fmt: skip
            said = zatotx(*words)
            self.assertEqual((said.code, said.out, said.err.count('\n')), (2, '', 1), said)
            self.assertIn(meant, said.err)

    def test_every_command_refuses_what_it_does_not_know(self) -> None:
        """An option that none has is exit 2 and one sentence with the help to look at, whatever the command."""
        for path, command in tree():
            if isinstance(command, click.Group):
                continue
            said = zatotx(*path.split()[1:], '--no-such-option-anywhere')
            self.assertEqual((said.code, said.out), (2, ''), path)
            self.assertIn(f"see '{path} --help'", said.err)


class ManualTests(SynchronousTestCase):
    """The manual pages that `make docs` makes of the help."""

    def setUp(self) -> None:
        self.place = Path(self.mktemp()).resolve()
        said = subprocess.run([sys.executable, str(DOCS / 'man.py'), str(self.place)], capture_output=True, text=True,
                              timeout=60, env={**os.environ, 'SOURCE_DATE_EPOCH': '0'})
        self.assertEqual((said.returncode, said.stderr), (0, ''))

    def test_a_page_a_command(self) -> None:
        """Named after what one types, with everything that --help says."""
        self.assertEqual({page.stem for page in self.place.iterdir()}, {path.replace(' ', '-') for path, _ in tree()})
        shown = subprocess.run(['mandoc', '-T', 'utf8', '-O', 'width=200', str(self.place / 'zatotx-service-invoke.1')],
                               capture_output=True, text=True, timeout=60, check=True).stdout
        plain = re.sub('.\b', '', shown)  # bold is a letter printed twice
        for words in ('1970-01-01', 'zatotx-service-invoke - invoke the service NAME', 'PATH   An environment',
                      '--payload JSON|-|@FILE', '[default: {}]', 'EXIT STATUS', """--payload '{"account_id": 1}'""",
                      'zatotx-service(1)'):
            self.assertIn(words, plain)

    def test_pages_are_clean(self) -> None:
        """mandoc finds nothing to warn of in any."""
        pages = sorted(map(str, self.place.iterdir()))
        said = subprocess.run(['mandoc', '-T', 'lint', '-W', 'warning', *pages], capture_output=True, text=True,
                              timeout=60)
        self.assertEqual((said.returncode, said.stdout + said.stderr), (0, ''))
