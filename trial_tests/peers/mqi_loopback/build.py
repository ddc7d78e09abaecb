"""Builds the client library and its headers, and pymqi on top of them: `python build.py DIRECTORY [--pymqi]`.

The result has the layout that `MQ_FILE_PATH` stands for: `inc/` with the headers and `lib64/libmqic_r.so`. With
`--pymqi` it also has `python/`, to be put on `sys.path`, with the pymqi of PyPI, unmodified, linked to that library.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
PYMQI = 'pymqi'


def build_library(directory: Path) -> None:
    """Compile the client library with gcc. Raises CalledProcessError."""
    shutil.copytree(SOURCES / 'include', directory / 'inc', dirs_exist_ok=True)
    library = directory / 'lib64' / 'libmqic_r.so'
    library.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(['gcc', '-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror', '-shared', '-fPIC', '-pthread',
                    '-I', str(directory / 'inc'), '-Wl,-soname,libmqic_r.so', '-o', str(library),
                    str(SOURCES / 'mqi.c')], check=True)  # fmt: skip


def build_pymqi(directory: Path, requirement: str) -> None:
    """Compile pymqi against the library. pymqi's linker options name no directory where the library is found at run
    time, so that LDFLAGS has to. Raises CalledProcessError."""
    environment = {**os.environ, 'MQ_FILE_PATH': str(directory),
                   'LDFLAGS': f'-Wl,-rpath,{directory / "lib64"}'}  # fmt: skip
    subprocess.run([sys.executable, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-deps',
                    '--no-build-isolation', '--no-cache-dir', '--target', str(directory / 'python'), requirement],
                   check=True, env=environment)  # fmt: skip


def pinned_pymqi() -> str:
    """Return the requirement of the version that constraints.txt pins."""
    lines = (SOURCES.parents[2] / 'constraints.txt').read_text('utf-8').splitlines()
    return next(line for line in lines if line.startswith(f'{PYMQI}=='))


def main() -> None:
    """Build what the command line asks for."""
    parser = argparse.ArgumentParser(description='Builds the client library of mqi_loopback.')
    parser.add_argument('directory', type=Path)
    parser.add_argument('--pymqi', action='store_true', help='build pymqi, too')
    given = parser.parse_args()
    directory = given.directory.resolve()
    build_library(directory)
    if given.pymqi:
        build_pymqi(directory, pinned_pymqi())


if __name__ == '__main__':
    main()
