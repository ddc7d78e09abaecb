"""Properties: what holds for all inputs. In `make test` a hundred of them each, always the same; by `make fuzz` as many
as its seconds allow, from a seed that it prints.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis.internal.conjecture import providers
from hypothesis.strategies import SearchStrategy

SHORT, ROUND = 100, 100  # examples: in CI, and of `make fuzz` before it looks at the clock
_SLOW_INPUT = (HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large)

if not os.environ.get('ZATOTX_FUZZ_SECONDS'):
    # Hypothesis also draws constants that it finds by parsing all modules of the project: that takes seconds in each
    # process, and any new constant would change the examples that `make test` repeats.
    providers.is_local_module_file = lambda file: False  # type: ignore[attr-defined, assignment]

_known: list[str] = []  # all properties, to share the seconds among them

Test = Callable[..., None]


def holds(examples: int = SHORT, **inputs: SearchStrategy[Any]) -> Callable[[Test], Test]:
    """The decorated test holds for all of these inputs. `examples`: how many are tried in `make test`."""

    def decorate(test: Test) -> Test:
        _known.append(test.__qualname__)
        common = settings(deadline=None, database=None, suppress_health_check=_SLOW_INPUT)
        short = settings(common, max_examples=examples, derandomize=True)(given(**inputs)(test))
        long = settings(common, max_examples=ROUND)(given(**inputs)(test))

        @wraps(test)
        def run(self: Any) -> None:
            seconds = float(os.environ.get('ZATOTX_FUZZ_SECONDS', '0'))
            if seconds:
                fuzz(lambda number: seed(number)(long)(self), seconds / len(_known))
            else:
                short(self)

        del run.__wrapped__  # trial would see the inputs as parameters
        return run

    return decorate


def fuzz(tried: Callable[[int], None], seconds: float) -> None:
    """Round after round, each from a seed of its own, until the seconds are over."""
    first, end = int(os.environ['ZATOTX_FUZZ_SEED']), time.monotonic() + seconds
    number = first
    while time.monotonic() < end:
        tried(number)
        number += 1
