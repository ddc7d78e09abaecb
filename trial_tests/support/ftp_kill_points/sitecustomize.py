"""Ends the process, as kill -9 does, at a step of a file's delivery: once for each file STEP in ZATOTX_KILL_DIRECTORY,
which the process that ends renames to STEP.done.

In PYTHONPATH of a server. The modules are patched when they are imported.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from contextlib import suppress
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

FTP = 'zatotx.plugins.ftp.'

# Module -> class and method, the step, and whether the process ends before or after it.
STEPS = {
    f'{FTP}poller': [
        ('PollChannel', '_deliver', 'poller-fetched', False),  # the file is fetched, and not delivered
        ('PollChannel', '_settle', 'poller-settling', False),  # its service has ended, and that is noted
    ],
    'zatotx.connectors.delivery': [
        ('MessageDelivery', '_confirm', 'ended', False),  # the service has ended, and nothing is noted
    ],
    f'{FTP}server.upload_store': [
        ('UploadStore', 'receive', 'channel-received', True),  # the upload is received, and its client has no reply
        ('UploadStore', 'settle', 'channel-settling', False),  # its service has ended
        ('UploadStore', 'settle', 'channel-settled', True),  # it is moved
    ],
}


class _Finder(MetaPathFinder):
    """Patches the methods of each module once it is imported."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.left = dict(STEPS)

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        steps = self.left.pop(fullname, None)
        if steps is None:
            return None
        spec = importlib.util.find_spec(fullname)
        assert spec is not None and spec.loader is not None
        run = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            run(module)
            for class_name, method, step, is_after in steps:
                self.patch(getattr(module, class_name), method, step, is_after=is_after)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec

    def patch(self, patched: Any, name: str, step: str, *, is_after: bool) -> None:
        method = getattr(patched, name)

        def observed(instance: Any, *args: Any, **fields: Any) -> Any:
            if not is_after:
                self.end(step)
            result = method(instance, *args, **fields)
            if is_after:
                self.end(step)
            return result

        setattr(patched, name, observed)

    def end(self, step: str) -> None:
        """End the process if the step is to be its last one."""
        with suppress(FileNotFoundError):
            Path(self.directory, step).rename(Path(self.directory, f'{step}.done'))
            os.kill(os.getpid(), signal.SIGKILL)


if os.environ.get('ZATOTX_KILL_DIRECTORY'):
    sys.meta_path.insert(0, _Finder(os.environ['ZATOTX_KILL_DIRECTORY']))
