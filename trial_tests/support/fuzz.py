"""`make fuzz`: the properties for ZATOTX_FUZZ_SECONDS, from ZATOTX_FUZZ_SEED or a seed of chance."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from secrets import randbelow

TESTS = Path(__file__).parent.parent


def main() -> int:
    chosen = os.environ.get('ZATOTX_FUZZ_SEED') or str(randbelow(10**9))
    seconds = os.environ.get('ZATOTX_FUZZ_SECONDS') or '120'
    modules = sorted(f'trial_tests.properties.{file.stem}' for file in TESTS.glob('properties/test_*.py'))
    print(f'Seed {chosen}, {seconds} s: make fuzz SECONDS={seconds} SEED={chosen} does the same again.', flush=True)
    env = {**os.environ, 'ZATOTX_FUZZ_SEED': chosen, 'ZATOTX_FUZZ_SECONDS': seconds}
    return subprocess.run([sys.executable, '-m', 'twisted.trial', *modules], env=env, check=False).returncode


if __name__ == '__main__':
    sys.exit(main())
