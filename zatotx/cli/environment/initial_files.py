"""Writes `credentials.toml` and `.zato-info`, the files that every new environment and component has."""

from __future__ import annotations

import getpass
import json
import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from zatotx import __version__
from zatotx.cli.environment.atomic_files import toml_string, write_private_file
from zatotx.cli.environment.creation_plan import EnvironmentPlan
from zatotx.cli.environment.environment_layout import CREDENTIALS, INFO_FILE, UserCredentials

CREDENTIALS_TOML = """\
# Passwords in clear, for users and for the zatotx command: only the owner may read this file (0600).
# Change a password with 'zatotx update password', which changes the cluster and this file together.
"""


def write_credentials(environment: Path, plan: EnvironmentPlan, ports: Mapping[str, int]) -> None:
    """Write credentials.toml with users and ports."""
    lines = [CREDENTIALS_TOML]
    for section, user in plan.users.items():
        lines.append(f'[{section}]\nusername = {toml_string(user.username)}\npassword = {toml_string(user.password)}\n')
    lines.append('[ports]')
    lines.extend(f'{name} = {port}' for name, port in ports.items())
    write_private_file(environment / CREDENTIALS, '\n'.join(lines) + '\n')


def add_credentials(path: Path, section: str, user: UserCredentials) -> None:
    """Write a user to a section of credentials.toml, and replace the previous user in this section. Everything else is
    preserved."""
    text = path.read_text('utf-8') if path.exists() else CREDENTIALS_TOML
    kept, is_kept = [], True
    for line in text.splitlines():
        if line.startswith('['):
            is_kept = line.strip() != f'[{section}]'
        if is_kept:
            kept.append(line)
    while kept and not kept[-1].strip():
        kept.pop()
    added = f'\n[{section}]\nusername = {toml_string(user.username)}\npassword = {toml_string(user.password)}\n'
    write_private_file(path, '\n'.join(kept) + '\n' + added)


def write_info(directory: Path, component: str) -> None:
    """Write `.zato-info` with Zato's fields: the type of the component, its creator, the time, and the version."""
    info = {
        'component': component,
        'version': __version__,
        'created_user_host': f'{user_name()}@{socket.gethostname()}',
        'created_ts': datetime.now(UTC).isoformat(),
    }
    write_private_file(directory / INFO_FILE, json.dumps(info, indent=2) + '\n')


def user_name() -> str:
    """Return the name of the current user, or the user ID if there is no name, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
