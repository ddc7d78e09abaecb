"""A real Chromium, driven by its own protocol (CDP) over two pipes: pages, what they log, what they fetch.

Each `Chromium` is a process with a profile of its own in a temporary directory; nothing of it goes to the network but
what a page asks for.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from base64 import b64decode
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

_SECONDS = 60.0  # for whatever is waited for: a loaded machine takes long to start a browser
_FLAGS = (
    '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-default-apps',
    '--disable-extensions', '--no-default-browser-check', '--mute-audio', '--hide-scrollbars',
    '--remote-debugging-pipe',
)  # fmt: skip

# It reads commands from descriptor 3 and answers on 4, whatever those are here.
_WITH_PIPES = """
import fcntl, os, sys
pipes = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]
os.dup2(pipes[0], 3), os.dup2(pipes[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Chromium:
    """One browser with one page. `close()` at the end."""

    def __init__(self) -> None:
        program = shutil.which('chromium') or shutil.which('chromium-browser')
        if program is None:
            raise AssertionError("There is no chromium: 'make peers' installs it")
        self._profile = Path(tempfile.mkdtemp(prefix='zatotx-chromium-'))
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, '-c', _WITH_PIPES, str(theirs_in), str(theirs_out), program, *_FLAGS,
             f'--user-data-dir={self._profile}', 'about:blank'],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            pass_fds=(theirs_in, theirs_out), start_new_session=True, env={**os.environ, 'HOME': str(self._profile)},
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self._number, self._rest, self._session = 0, b'', ''
        self.events: list[dict[str, Any]] = []
        self._answers: dict[int, dict[str, Any]] = {}
        targets = self.ask('Target.getTargets')['targetInfos']
        page = next(target['targetId'] for target in targets if target['type'] == 'page')
        self._session = self.ask('Target.attachToTarget', targetId=page, flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.ask(f'{domain}.enable')

    # -- the page

    def open(self, url: str) -> None:
        """Go there, and wait until it is loaded."""
        self.events.clear()
        self.ask('Page.navigate', url=url)
        self.until(lambda: any(one['method'] == 'Page.loadEventFired' for one in self.events), f'{url} being loaded')

    def run(self, script: str) -> Any:
        """The value of an expression; of a promise, what it gives. Raises AssertionError where it throws."""
        found = self.ask('Runtime.evaluate', expression=script, returnByValue=True, awaitPromise=True)
        if 'exceptionDetails' in found:
            raise AssertionError(f'{script}: {found["exceptionDetails"]}')
        return found['result'].get('value')

    def wait(self, script: str) -> Any:
        """The value of an expression once it is true."""
        return self.until(lambda: self.run(script), script)

    def shape(self, width: int, height: int, *, dark: bool = False) -> None:
        """The size of the window, and the colours the system likes."""
        self.ask('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {'name': 'prefers-color-scheme', 'value': 'dark' if dark else 'light'}
        self.ask('Emulation.setEmulatedMedia', features=[scheme])

    def picture(self, path: Path) -> None:
        """What is seen now, as PNG."""
        path.write_bytes(b64decode(self.ask('Page.captureScreenshot', format='png')['data']))

    @property
    def complaints(self) -> list[str]:
        """Errors and warnings of the console since the page was opened: scripts, policy, requests that failed."""
        found = []
        for one in self.events:
            params = one['params']
            if one['method'] == 'Runtime.exceptionThrown':
                found.append(str(params['exceptionDetails']))
            elif one['method'] == 'Log.entryAdded' and params['entry']['level'] in ('error', 'warning'):
                found.append(f'{params["entry"]["text"]} {params["entry"].get("url", "")}'.strip())
            elif one['method'] == 'Runtime.consoleAPICalled' and params['type'] in ('error', 'warning', 'assert'):
                found.append(str(params['args']))
        return found

    @property
    def requested(self) -> list[str]:
        """Every URL that the page asked for since it was opened."""
        return [one['params']['request']['url'] for one in self.events if one['method'] == 'Network.requestWillBeSent']

    # -- the protocol

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """One command, and its result. Raises AssertionError for an error."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {'id': number, 'method': method, 'params': params}
        if self._session and not method.startswith('Target.'):
            message['sessionId'] = self._session
        os.write(self._out, json.dumps(message).encode() + b'\0')
        answer = self.until(lambda: self._answers.pop(number, None), method)
        if 'error' in answer:
            raise AssertionError(f'{method}: {answer["error"]}')
        result: dict[str, Any] = answer['result']
        return result

    def until(self, found: Callable[[], Any], what: str) -> Any:
        """What `found` gives once it gives something true, events being read meanwhile."""
        end = time.monotonic() + _SECONDS
        while not (value := found()):
            if time.monotonic() > end or self._process.poll() is not None:
                raise AssertionError(f'{what}: not within {_SECONDS:g} s')
            self._read()
        return value

    def _read(self) -> None:
        """Take in what has come, within a moment."""
        if select.select([self._in], [], [], 0.05)[0]:
            data = os.read(self._in, 1 << 20)
            if not data:
                raise AssertionError('Chromium has ended')
            self._rest += data
        *whole, self._rest = self._rest.split(b'\0')
        for one in map(json.loads, whole):
            if 'id' in one:
                self._answers[one['id']] = one
            else:
                self.events.append(one)

    def close(self) -> None:
        """End it and remove what it left."""
        with suppress(ProcessLookupError):  # it may have ended by itself
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._in)
        os.close(self._out)
        shutil.rmtree(self._profile, ignore_errors=True)


_shared: list[Chromium] = []


def shared_browser() -> Chromium:
    """One for all tests of a process: starting it costs a second or more. It ends with the process."""
    if not _shared:
        _shared.append(Chromium())
        atexit.register(_shared[0].close)
    return _shared[0]
