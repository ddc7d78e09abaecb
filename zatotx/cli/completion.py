"""`zatotx completion`: the script that has a shell complete commands, options, paths and services."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete


class WholeFish(FishComplete):
    """click's script, which ends values and descriptions at their first comma, mended."""

    source_template = FishComplete.source_template.replace('string split ","', 'string split -m 1 ","')


SHELLS: dict[str, type[ShellComplete]] = {'bash': BashComplete, 'fish': WholeFish, 'zsh': ZshComplete}


@click.command(
    epilog='\b\nExamples:\n  zatotx completion bash > ~/.local/share/bash-completion/completions/zatotx\n'
    '  zatotx completion zsh > ~/.zfunc/_zatotx\n'
    '  zatotx completion fish > ~/.config/fish/completions/zatotx.fish'
)
@click.argument('shell', metavar='SHELL', type=click.Choice(sorted(SHELLS)),
                help='Whose script to print: bash, fish or zsh.')
def completion(shell: str) -> None:
    """Print what makes SHELL complete commands, options and values of zatotx.

    Values are: parts of an environment, its users, and its services where a server says within 0.3 s which there are.
    Bash reads the file of the example by itself, if bash-completion is installed; 'source' it from ~/.bashrc otherwise.
    For zsh, ~/.zfunc has to be in fpath before compinit runs.
    """
    from zatotx.cli.main import cli

    made = SHELLS[shell](cli, {}, 'zatotx', '_ZATOTX_COMPLETE')
    click.echo(made.source_template % made.source_vars())
