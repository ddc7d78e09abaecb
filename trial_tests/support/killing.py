"""Kills a server at a step of a file's delivery: see ftp_kill_points/sitecustomize.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trial_tests.support.broker import Broker
from trial_tests.support.waiting import until

FOLDER = Path(__file__).parent / 'ftp_kill_points'


def kill_environment(broker: Broker) -> Mapping[str, str]:
    """The environment variables of servers that end at the steps that `arm` names."""
    directory = broker.path.parent / 'kills'
    directory.mkdir(exist_ok=True)
    return {'ZATOTX_KILL_DIRECTORY': str(directory), 'PYTHONPATH': str(FOLDER)}


def arm(broker: Broker, step: str) -> None:
    """Let the next process that comes to the step end there."""
    directory = broker.path.parent / 'kills'
    (directory / f'{step}.done').unlink(missing_ok=True)
    (directory / step).touch()


def wait_for_kill(broker: Broker, step: str, timeout: float = 60.0) -> None:
    """Wait until a process has ended at the step."""
    until((broker.path.parent / 'kills' / f'{step}.done').exists, f'the end of a process at {step}', timeout)
