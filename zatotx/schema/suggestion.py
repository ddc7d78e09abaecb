"""What a name that nothing has may have been meant for."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice

CLOSE = 0.75  # difflib's ratio from which on two names are close
COMPARED = 50  # names at most: a name costs a few milliseconds, however many there are
LONGEST = 100  # characters of a name that is compared


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`, did you mean 'crm.get-balance'?`, or '' where no known name is close. Case does not count; of names of more
    than a few characters those are compared that begin or end alike."""
    folded = name.casefold()
    if len(folded) > LONGEST:
        return ''
    begins, ends = folded[:2], folded[-2:]
    alike = (
        (each_folded, each)
        for each in known
        if (each_folded := each.casefold()).startswith(begins) or each_folded.endswith(ends)
    )
    candidates = dict(islice((pair for pair in alike if len(pair[0]) <= LONGEST), COMPARED))
    near = get_close_matches(folded, candidates, n=1, cutoff=CLOSE)
    return f', did you mean {candidates[near[0]]!r}?' if near else ''
