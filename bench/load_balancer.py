"""Benchmarks of the load balancer relative to HAProxy with one thread, in front of the same two servers.

Both proxies run on one core, wrk and the servers (nginx, with a fixed response) on the other one, so that the rate of
the faster proxy is limited by them. The CPU time of both proxies for a request is therefore measured beside the rates.
"""

from __future__ import annotations

import io
import os
import pstats
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import msgspec

from bench import load, openloop
from bench.figures import Row
from bench.footprint import allow_files
from bench.machine import LOAD_CORE, SERVER_CORE, memory, pinned, running, wait_for_port
from trial_tests.support.certificate import write_certificate
from trial_tests.support.ports import free_port

FIXED_RATE, FROZEN_RATE = 5000, 1000  # requests per second
IDLE = 10_000
BIG = 1_000_000_000
TCP_BODY = 64 * 1024
_SHOWN = 45  # functions of a profile
_TICK = 1 / os.sysconf('SC_CLK_TCK')
_BODY = '{"customer": 123, "name": "Anna", "items": [1, 2, 3]}'
_OURS, _PEER = 'zatotx', 'HAProxy'
Ports = dict[str, tuple[int, int]]  # proxy -> its port and its process ID

_NGINX = """
daemon off; user root; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 10000; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;
  client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  server {{
    listen 127.0.0.1:{one}; listen 127.0.0.1:{two};
    location / {{ default_type application/json; return 200 '{body}'; }}
    location /big {{ root {folder}; }}
  }}
}}
"""
_HAPROXY = """
global
  nbthread 1
  maxconn {maxconn}
  tune.ssl.cachesize 0
defaults
  mode {mode}
  timeout connect 15s
  timeout client 1h
  timeout server 15s
frontend main
  bind 127.0.0.1:{port} backlog 4096 {bind}
  {options}
  default_backend main
backend main
  {servers}
"""


def profile(folder: Path, seconds: float) -> str:
    """A table of the functions of zato-lb by their own time, under keep-alive load."""
    folder.mkdir(exist_ok=True)
    stats = folder / 'lb.prof'
    options = (f'--profile={stats}', '--profiler=cprofile', '--savestats')
    with _backends(folder) as servers, _ours(folder, servers, 'http', '', options) as (port, _):
        result = load.run(port, load.Request(path='/', method='GET'), seconds=seconds)
    out = io.StringIO()
    pstats.Stats(str(stats), stream=out).sort_stats('tottime').print_stats(_SHOWN)
    return f'{result.rate:,.0f} requests/s through zato-lb under the profiler\n{out.getvalue()}'


def measure(folder: Path, rounds: int, seconds: float, say: Callable[[str], None]) -> list[Row]:
    """Measure all rows."""
    (folder / 'tls').mkdir(parents=True)
    write_certificate(folder / 'tls' / 'site.pem', 'localhost', is_rsa=False)
    with (folder / 'big').open('wb') as file:
        file.truncate(BIG)
    rows: list[Row] = []
    with _backends(folder) as servers:
        with _proxies(folder, servers) as proxies:
            rows += _keep_alive(proxies, rounds, seconds, say)
            rows += _fixed_rate(proxies, seconds)
            rows.append(_relative('lb: a new connection for each request', proxies, rounds, seconds, 0.4, close=True))
            rows += _big_body(proxies, rounds, say)
        rows.append(_idle(folder, servers, '', 6))
        with _proxies(folder, servers, tls=True) as proxies:
            rows.append(_relative('lb: TLS, keep-alive', proxies, rounds, seconds, 0.4, scheme='https'))
            rows.append(_relative('lb: TLS handshakes', proxies, rounds, seconds, 0.25, scheme='https', close=True))
        rows.append(_idle(folder, servers, str(folder / 'tls'), 40))
    rows.append(_frozen(folder, seconds))
    with _echo_servers() as echo, _proxies(folder, list(echo), mode='tcp') as proxies:
        rows.append(_relative('lb: TCP mode, 64 KB echo', proxies, rounds, seconds, 0.5, body='x' * TCP_BODY))
    return rows


# Processes


@contextmanager
def _backends(folder: Path) -> Iterator[Sequence[int]]:
    one, two = free_port(), free_port()
    config = folder / 'nginx.conf'
    config.write_text(_NGINX.format(folder=folder, one=one, two=two, body=_BODY))
    with running(pinned(LOAD_CORE, ['nginx', '-c', str(config), '-p', str(folder)])):
        wait_for_port(one)
        yield one, two


@contextmanager
def _echo_servers() -> Iterator[dict[int, int]]:
    """Run two servers; yields their process IDs by port."""
    with ExitStack() as stack:
        found = {}
        for port in (free_port(), free_port()):
            command = [sys.executable, '-m', 'bench.peers.twisted_echo', str(port)]
            found[port] = stack.enter_context(running(pinned(LOAD_CORE, command)))
            wait_for_port(port)
        yield found


@contextmanager
def _proxies(folder: Path, servers: Sequence[int], *, mode: str = 'http', tls: bool = False) -> Iterator[Ports]:
    """Run both proxies on one core."""
    with ExitStack() as stack:
        ours = stack.enter_context(_ours(folder, servers, mode, str(folder / 'tls') if tls else ''))
        port = free_port()
        config = folder / 'haproxy.cfg'
        config.write_text(_HAPROXY.format(
            port=port, mode=mode, maxconn=4000, bind=f'ssl crt {folder}/tls/site.pem' if tls else '',
            options='option forwardfor' if mode == 'http' else '',
            servers='\n  '.join(f'server s{number} 127.0.0.1:{number}' for number in servers),
        ))  # fmt: skip
        pid = stack.enter_context(running(pinned(SERVER_CORE, ['haproxy', '-db', '-q', '-f', str(config)])))
        wait_for_port(port)
        yield {_OURS: ours, _PEER: (port, pid)}


_LB = """
[main]
cluster = "bench"
[frontends.main]
listen = ["127.0.0.1:{port}"]
default_backend = "main"
mode = "{mode}"
max_connections = 100000
log = false
{tls}
[backends.main]
mode = "{mode}"
[backends.main.check]
type = "{check}"
path = "/"
{servers}
"""


@contextmanager
def _ours(
    folder: Path, servers: Sequence[int], mode: str, certificates: str, options: Sequence[str] = ()
) -> Iterator[tuple[int, int]]:
    """Run zato-lb, with its probes and statistics, but without the log of requests, which the other has not either."""
    port = free_port()
    directory = folder / f'lb{port}'
    create = [str(Path(sys.executable).with_name('zatotx')), 'create', 'load-balancer', str(directory)]
    subprocess.run([*create, '--port', str(port)], check=True, timeout=60, stdout=subprocess.DEVNULL)
    (directory / 'config' / 'lb.toml').write_text(_LB.format(
        port=port, mode=mode, tls=f'tls = {{certificates = "{certificates}"}}' if certificates else '',
        check='http' if mode == 'http' else 'tcp',
        servers='\n'.join(f'[backends.main.servers.s{number}]\nhost = "127.0.0.1"\nport = {number}'
                          for number in servers),
    ))  # fmt: skip
    twistd = str(Path(sys.executable).with_name('twistd'))
    command = [twistd, '-n', '--pidfile=', *options, 'zato-lb', '--dir', str(directory)]
    with running(pinned(SERVER_CORE, command)) as pid:
        wait_for_port(port, 60)
        yield port, pid


def _cpu(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK


# Rows


def _keep_alive(proxies: Ports, rounds: int, seconds: float, say: Callable[[str], None]) -> list[Row]:
    rates: dict[str, list[float]] = {name: [] for name in proxies}
    costs: dict[str, list[float]] = {name: [] for name in proxies}
    for number in range(rounds):
        for name, (port, pid) in proxies.items():
            load.run(port, load.Request(path='/', method='GET'), seconds=1)
            before = _cpu(pid)
            result = load.run(port, load.Request(path='/', method='GET'), seconds=seconds)
            # The warm-up of `run` takes a second with the same load.
            costs[name].append((_cpu(pid) - before) / (result.requests * (1 + 1 / max(1, round(seconds)))) * 1e6)
            rates[name].append(result.rate)
        say(f'  round {number + 1}: ' + ', '.join(f'{name} {rates[name][-1]:,.0f}/s at {costs[name][-1]:.1f} us of CPU'
                                                  for name in proxies))  # fmt: skip
    rate = {name: median(found) for name, found in rates.items()}
    cost = {name: median(found) for name, found in costs.items()}
    return [
        Row(what='lb: HTTP keep-alive, 64 clients, relative to HAProxy', figure=f'{rate[_OURS]:,.0f}/s : '
            f'{rate[_PEER]:,.0f}/s', value=rate[_OURS] / rate[_PEER], bar=0.6, at_least=True, unit=' x'),
        Row(what='lb: CPU time of a request, relative to HAProxy', figure=f'{cost[_OURS]:.1f} us : '
            f'{cost[_PEER]:.1f} us', value=cost[_OURS] / cost[_PEER], bar=3, unit=' x'),
    ]  # fmt: skip


def _fixed_rate(proxies: Ports, seconds: float) -> list[Row]:
    found = {name: _open_loop(port, seconds).p99 * 1000 for name, (port, _) in proxies.items()}
    figure = f'{found[_OURS]:.2f} ms : {found[_PEER]:.2f} ms'
    return [
        Row(what='lb: p99 at 5,000/s', figure=figure, value=found[_OURS], bar=5, unit=' ms'),
        Row(what='lb: p99 at 5,000/s, relative to HAProxy', figure=figure, value=found[_OURS] / found[_PEER], bar=3,
            unit=' x'),
    ]  # fmt: skip


def _frozen(folder: Path, seconds: float) -> Row:
    """A row of the latency while one of two servers accepts connections and is silent, from the moment on at which it
    freezes: few requests wait until probes have found it, less than one of a hundred."""
    with _echo_servers() as servers, _ours(folder, list(servers), 'http', '') as (port, _):
        seconds = max(seconds, 10.0)
        idle = _open_loop(port, seconds, rate=FROZEN_RATE)
        pid = next(iter(servers.values()))
        os.kill(pid, signal.SIGSTOP)
        try:
            frozen = _open_loop(port, seconds, rate=FROZEN_RATE)
        finally:
            os.kill(pid, signal.SIGCONT)
        if set(frozen.statuses) != {'200'}:
            raise load.LoadError(f'with a frozen server, responses have the statuses {frozen.statuses}')
    return Row(what='lb: p99 while one of two servers is frozen, relative to before',
               figure=f'{frozen.p99 * 1000:.2f} ms : {idle.p99 * 1000:.2f} ms', value=frozen.p99 / idle.p99, bar=3,
               unit=' x')  # fmt: skip


def _open_loop(port: int, seconds: float, *, rate: int = FIXED_RATE) -> openloop.Outcome:
    command = [sys.executable, '-m', 'bench.openloop', str(port), str(rate), str(seconds), '64']
    request = b'GET / HTTP/1.1\r\nHost: bench\r\n\r\n'
    done = subprocess.run(pinned(LOAD_CORE, command), input=request, capture_output=True, check=True,
                          timeout=seconds + 60)  # fmt: skip
    return msgspec.json.decode(done.stdout, type=openloop.Outcome)


def _relative(
    what: str, proxies: Ports, rounds: int, seconds: float, bar: float, *, scheme: str = 'http', close: bool = False,
    body: str = '',
) -> Row:
    """A row of the rates of both proxies."""
    headers = {'Connection': 'close'} if close else {}
    request = load.Request(path='/', method='POST' if body else 'GET', body=body, headers=headers)
    found: dict[str, list[float]] = {name: [] for name in proxies}
    for _ in range(rounds):
        for name, (port, _pid) in proxies.items():
            found[name].append(load.run(port, request, seconds=seconds, scheme=scheme).rate)
    rate = {name: median(rates) for name, rates in found.items()}
    return Row(what=f'{what}, relative to HAProxy', figure=f'{rate[_OURS]:,.0f}/s : {rate[_PEER]:,.0f}/s',
               value=rate[_OURS] / rate[_PEER], bar=bar, at_least=True, unit=' x')  # fmt: skip


def _big_body(proxies: Ports, rounds: int, say: Callable[[str], None]) -> list[Row]:
    rates: dict[str, list[float]] = {name: [] for name in proxies}
    growth = 0
    for _ in range(rounds):
        for name, (port, pid) in proxies.items():
            before = memory(pid).rss
            command = ['curl', '-sS', '-o', '/dev/null', '-w', '%{size_download} %{time_total}',
                       f'http://127.0.0.1:{port}/big']  # fmt: skip
            done = subprocess.run(pinned(LOAD_CORE, command), capture_output=True, check=True, timeout=120)
            size, took = done.stdout.split()
            if int(size) != BIG:
                raise load.LoadError(f'{name} sent {int(size)} bytes of {BIG}')
            rates[name].append(BIG / float(took) / 1e6)
            if name == _OURS:
                growth = max(growth, memory(pid).peak - before)
    rate = {name: max(found) for name, found in rates.items()}  # whatever else the machine does only makes it slower
    say('  1 GB: ' + ', '.join(f'{name} {value:,.0f} MB/s' for name, value in rate.items()))
    return [
        Row(what='lb: a body of 1 GB, relative to HAProxy', figure=f'{rate[_OURS]:,.0f} MB/s : {rate[_PEER]:,.0f} MB/s',
            value=rate[_OURS] / rate[_PEER], bar=0.4, at_least=True, unit=' x'),
        Row(what='lb: growth of memory with a body of 1 GB', figure=f'{growth / 2**20:.1f} MiB', value=growth / 2**20,
            bar=16, unit=' MiB'),
    ]  # fmt: skip


def _idle(folder: Path, servers: Sequence[int], certificates: str, bar: float) -> Row:
    """A row of the memory of idle clients, each of which has sent a request."""
    allow_files(IDLE + 500)
    script = [sys.executable, '-m', 'bench.peers.idle_clients']
    with _ours(folder, servers, 'http', certificates) as (port, pid):
        subprocess.run([*script, str(port), '200', certificates], check=True, timeout=60, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        time.sleep(1)
        before = memory(pid).rss
        clients = subprocess.Popen([*script, str(port), str(IDLE), certificates], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE)  # fmt: skip
        try:
            assert clients.stdout is not None
            clients.stdout.readline()
            time.sleep(6)  # until what is kept from the last request is dropped
            each = (memory(pid).rss - before) / IDLE
        finally:
            clients.kill()
            clients.wait()
    what = f'lb: memory of an idle {"TLS " if certificates else ""}client, with {IDLE:,} of them'
    return Row(what=what, figure=f'{each:.0f} bytes', value=each / 1024, bar=bar, unit=' KiB')


