"""Load generation with wrk on a dedicated core, in a closed loop over keep-alive connections.

Install wrk with `apt-get install wrk`. A load generator in Python would be slower than the servers that it measures.
"""

from __future__ import annotations

import http.client
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import msgspec

from bench.machine import LOAD_CORE, pinned

CONNECTIONS = 64
_DONE = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\n{"requests":%d,"micros":%d,"p50":%d,"p99":%d,"failures":' ..
    '{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect, e.read, e.write, e.status, e.timeout))
end
"""


_MANY = """
local all, turn = {}, 0
init = function(args)
  for path in io.lines(file) do all[#all + 1] = wrk.format(nil, path) end
end
request = function()
  turn = turn % #all + 1
  return all[turn]
end
"""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request that the load generator sends."""

    path: str
    method: str = 'POST'
    body: str = ''
    headers: dict[str, str] = {}
    lua: str = ''  # a wrk script that creates each request


class Result(msgspec.Struct, frozen=True):
    """The result of a run; times are in microseconds."""

    requests: int
    micros: int
    p50: int
    p99: int
    failures: dict[str, int] = {}  # by kind: connect, read, write, status; timeout: no response within two seconds

    @property
    def rate(self) -> float:
        """Responses per second."""
        return self.requests * 1e6 / self.micros

    @property
    def failed(self) -> int:
        """The number of failures."""
        return sum(self.failures.values())

    def describe_failures(self) -> str:
        """The failures by kind: '3 read, 16 timeout'; '' without any."""
        return ', '.join(f'{count} {kind}' for kind, count in self.failures.items() if count)


class LoadError(Exception):
    """A run had more failed responses than are tolerated, so its rate is meaningless."""


def check_tools() -> list[str]:
    """A message for each tool that is not installed."""
    wanted = {'wrk': 'apt-get install wrk', 'taskset': 'apt-get install util-linux'}
    return [f'{tool} is not on PATH: {how}' for tool, how in wanted.items() if shutil.which(tool) is None]


def answer(port: int, request: Request) -> tuple[int, bytes]:
    """Send one request on a new connection and return the status and body of the response."""
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=15)
    try:
        connection.request(request.method, request.path, body=request.body, headers=request.headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def run(
    port: int,
    request: Request,
    *,
    seconds: float,
    paths: Sequence[str] = (),
    connections: int = CONNECTIONS,
    cores: int | str = LOAD_CORE,
    scheme: str = 'http',
    around: AbstractContextManager[object] | None = None,
    tolerance: float = 0.0,
) -> Result:
    """Send the request repeatedly over `connections` connections, or to each of `paths` in turn.

    wrk runs on `cores`; `around` is entered after a warm-up. `tolerance` is the share of responses that may fail, which
    is zero for our own servers. Raises LoadError if more responses were errors, missing or late.
    """
    with tempfile.TemporaryDirectory(prefix='zatotx-bench-') as folder:
        script = Path(folder, 'load.lua')
        script.write_text(_script(request, paths, Path(folder, 'paths')))
        _wrk(port, script, 1, connections, cores, scheme)  # warm-up
        with around or nullcontext():
            result = _wrk(port, script, seconds, connections, cores, scheme)
    if result.failed > tolerance * result.requests or not result.requests:
        failures = result.describe_failures() or 'none came'
        raise LoadError(f'{result.failed} of {result.requests} responses on port {port} failed: {failures}')
    return result


def _wrk(port: int, script: Path, seconds: float, connections: int, cores: int | str, scheme: str) -> Result:
    command = ['wrk', '-t1', f'-c{connections}', f'-d{max(1, round(seconds))}s', '-s', str(script)]
    done = subprocess.run(
        pinned(cores, [*command, f'{scheme}://127.0.0.1:{port}/']),
        capture_output=True,
        check=False,
        text=True,
        timeout=seconds + 30,
    )
    if done.returncode:
        raise LoadError(f'wrk exited with status {done.returncode}: {done.stderr.strip() or done.stdout.strip()}')
    return msgspec.json.decode(done.stdout.rstrip().rsplit('\n', 1)[-1], type=Result)


def _script(request: Request, paths: Sequence[str], file: Path) -> str:
    """A wrk script that formats all requests before the load begins, so that sending one is at most a table lookup."""
    if request.lua:
        return request.lua + _DONE
    lines = [f'wrk.method = {lua(request.method)}', f'wrk.path = {lua(request.path)}']
    if request.body:
        lines.append(f'wrk.body = {lua(request.body)}')
    lines += [f'wrk.headers[{lua(name)}] = {lua(value)}' for name, value in request.headers.items()]
    if paths:
        file.write_text('\n'.join(paths))
        lines.append(f'local file = {lua(str(file))}')
        lines.append(_MANY)
    return '\n'.join([*lines, _DONE])


def lua(text: str) -> str:
    """A Lua string literal in which special and non-ASCII bytes are escaped."""
    return '"' + ''.join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f'\\{b:03}' for b in text.encode()) + '"'
