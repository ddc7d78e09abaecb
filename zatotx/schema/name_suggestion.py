"""Suggests similar names for unknown names."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

MIN_SIMILARITY = 0.75  # minimum ratio of difflib for a suggestion
MAX_COMPARED = 50  # maximum number of names compared: comparing one takes milliseconds
MAX_LENGTH = 100  # maximum number of characters of a compared name


def suggest_similar_name(name: str, known_names: Iterable[str]) -> str:
    """Return a suggestion such as `, did you mean 'crm.get-balance'?`, or '' if no known name is similar. Case is
    ignored, and only names that share their first or last two characters are compared."""
    folded = name.casefold()
    if len(folded) > MAX_LENGTH:
        return ''
    begins, ends = folded[:2], folded[-2:]
    similar = (
        (candidate_folded, candidate)
        for candidate in known_names
        if (candidate_folded := candidate.casefold()).startswith(begins) or candidate_folded.endswith(ends)
    )
    candidates = dict(islice((pair for pair in similar if len(pair[0]) <= MAX_LENGTH), MAX_COMPARED))
    from difflib import get_close_matches  # few processes need it

    matches = get_close_matches(folded, candidates, n=1, cutoff=MIN_SIMILARITY)
    return f', did you mean {candidates[matches[0]]!r}?' if matches else ''
