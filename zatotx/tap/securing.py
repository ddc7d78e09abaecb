"""Puts together who may use a channel: a check for each type of security definition."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import frozen

from zatotx.exchange.security.basic_auth import BasicAuthCheck, Verifier
from zatotx.exchange.security.guard import Guard
from zatotx.interfaces.fetch import IFetcher
from zatotx.interfaces.redis import IScripts
from zatotx.kvdb.keys import Keys


@frozen(kw_only=True)
class Means:
    """What checks need beside a definition."""

    reactor: Any
    offload: Callable[..., Any]
    scripts: IScripts  # for what the whole cluster must know, such as nonces
    keys: Keys
    fetcher: IFetcher | None  # for the keys of an issuer; None = there is no kind that has one


def make_guard(means: Means) -> Guard:
    """The guard of a node, without definitions yet."""
    verifier = Verifier(means.reactor, means.offload)
    return Guard({'basic_auth': partial(BasicAuthCheck, verifier)})
