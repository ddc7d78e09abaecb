"""`zatotx`: finds the command asked for, turns every failure into one sentence and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

import click
from click.exceptions import NoArgsIsHelpError, NoSuchCommand, NoSuchOption
from click.shell_completion import CompletionItem

from zatotx import __version__
from zatotx.cli.errors import CommandError, error_sentence

# name -> (where it is, what it does). The help of `zatotx` is made of this alone: no command is imported for it.
COMMANDS: dict[str, tuple[str, str]] = {
    'quickstart': ('zatotx.cli.quickstart:quickstart', 'Make a whole environment: create.'),
    'start': ('zatotx.cli.process:start', 'Start what does not run of an environment, or one part of it.'),
    'stop': ('zatotx.cli.process:stop', 'Stop, letting every request under way finish.'),
    'restart': ('zatotx.cli.process:restart', 'Restart one server after the other.'),
    'status': ('zatotx.cli.process:status', 'Say what runs and what is ready.'),
    'service': ('zatotx.cli.service:service', 'Services of a running cluster: invoke, list, rollback.'),
    'new': ('zatotx.cli.new:new', 'Write the beginnings of something of your own: service.'),
    'hot-deploy': ('zatotx.cli.hot_deploy:hot_deploy', 'Deploy files and packages on every node.'),
    'enmasse': ('zatotx.cli.enmasse:enmasse', 'Import and export the configuration as YAML.'),
    'openapi': ('zatotx.cli.openapi:openapi', 'The OpenAPI document of what a cluster serves.'),
    'doctor': ('zatotx.cli.doctor:doctor', 'Find what is broken, on the disk and in what runs.'),
    'info': ('zatotx.cli.info:info', 'Facts about an environment and its cluster.'),
    'component-version': ('zatotx.cli.info:component_version', 'The version that made a part.'),
    'check-config': ('zatotx.cli.check_config:check_config', 'Check files, modes, keys, ports and the database.'),
    'update': ('zatotx.cli.update:update', 'Change what an environment has: password.'),
    'wait': ('zatotx.cli.wait:wait', 'Wait until an address answers.'),
    'crypto': ('zatotx.cli.crypto:crypto', 'Secret keys: generate-key, rotate-key, encrypt, decrypt.'),
    'encrypt': ('zatotx.cli.crypto:encrypt', "Encrypt a value with an environment's key."),
    'decrypt': ('zatotx.cli.crypto:decrypt', "Decrypt a value with an environment's key."),
    'history': ('zatotx.cli.history:history', 'Who changed what: list, show, export, restore.'),
    'log': ('zatotx.cli.log:log', 'What is heard in the logs of a running cluster: levels, level.'),
    'completion': ('zatotx.cli.completion:completion', 'Have bash, zsh or fish complete what you type.'),
    'odb': ('zatotx.cli.odb:odb', 'The schema of the database: current, check, upgrade.'),
}

EXAMPLES = """\b
Examples:
  zatotx quickstart create ~/env/qs-1
  zatotx start ~/env/qs-1
  zatotx hot-deploy ~/env/qs-1 crm.py
  zatotx service invoke ~/env/qs-1 crm.get-balance --payload '{"account_id": 1}'

Exit codes: 0 good, 1 what was asked for failed, 2 wrong usage. Messages go to stderr, one sentence each.
"""


class LazyGroup(click.Group):
    """The commands of the table, each imported when it is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(':')
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except NoSuchCommand as error:
            raise NoSuchCommand(error.command_name, error.message, COMMANDS, error.ctx) from None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        begun = [(name, text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)]
        return [*(CompletionItem(name, help=text) for name, text in begun),
                *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section('Commands'):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(cls=LazyGroup, epilog=EXAMPLES, context_settings={'help_option_names': ['-h', '--help']})
@click.version_option(__version__, message='%(version)s')
def cli() -> None:
    """zatotx, an integration broker on Twisted. PATH is an environment or one of its parts, e.g. PATH/server1."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code: 0 good, 1 the thing asked for failed, 2 wrong usage."""
    try:
        result = cli.main(args=arguments, prog_name='zatotx', standalone_mode=False)
    except NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.UsageError as error:
        return print_error(usage_error_sentence(error), 2)
    except CommandError as error:
        return print_error(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return print_error('Interrupted.', 1)
    except OSError as error:
        return print_error(error_sentence(error), 1)
    return result if isinstance(result, int) else 0


def usage_error_sentence(error: click.UsageError) -> str:
    """What was wrong with the command line, what may have been meant, and where the help is."""
    path = error.ctx.command_path if error.ctx else 'zatotx'
    if isinstance(error, NoSuchCommand | NoSuchOption) and error.possibilities:
        meant = ' or '.join(map(repr, error.possibilities))
        return f"{error.message.rstrip('.')}: did you mean {meant}? See '{path} --help'."
    message = ' '.join(line.strip() for line in error.format_message().splitlines()).rstrip('.')
    return f"{message}: see '{path} --help'."


def print_error(sentence: str, code: int) -> int:
    click.echo(f'Error: {sentence}', err=True)
    return code


def main() -> None:
    """The console script."""
    sys.exit(run())
