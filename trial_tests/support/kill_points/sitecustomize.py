"""Ends the process, as kill -9 does, at a step of an AMQP message: ZATOTX_KILL_AT=STEP:COUNT, at its COUNTth message.

In PYTHONPATH of a connector. The modules are patched when they are imported: importing pika's adapter earlier would
install Twisted's default reactor.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from importlib.abc import MetaPathFinder
from typing import Any

# Step -> module, class and method; whether the process ends before or after it.
STEPS = {
    'delivered': ('consumer', 'QueueConsumer', '_received', False),
    'ended': ('consumer', 'ReceivedMessage', 'processed', False),
    'acked': ('consumer', 'QueueConsumer', 'acknowledge', True),
    'dead-lettered': ('consumer', 'QueueConsumer', 'drop', False),
    'published': ('publisher', 'PublishChannel', '_send', True),
    'confirmed': ('publisher', 'PublishChannel', '_confirmed', False),
}
PACKAGE = 'zatotx.plugins.amqp.'


class _Finder(MetaPathFinder):
    """Patches one method of one module once it is imported."""

    def __init__(self, step: str, count: int) -> None:
        module, self.class_name, self.method, self.is_after = STEPS[step]
        self.module, self.left = PACKAGE + module, count

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname != self.module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        assert spec is not None and spec.loader is not None
        run = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            run(module)
            self.patch(getattr(module, self.class_name))

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec

    def patch(self, patched: Any) -> None:
        method = getattr(patched, self.method)

        def counted(instance: Any, *args: Any, **fields: Any) -> Any:
            self.left -= 1
            if not self.left and not self.is_after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = method(instance, *args, **fields)
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(patched, self.method, counted)


if os.environ.get('ZATOTX_KILL_AT'):
    _step, _, _count = os.environ['ZATOTX_KILL_AT'].partition(':')
    sys.meta_path.insert(0, _Finder(_step, int(_count)))
