"""The object types that do not belong to a kind: every node has them, whichever kinds are installed."""

from __future__ import annotations

from zatotx.schema.rate_limit import RATE_LIMIT
from zatotx.schema.security import SECURITY_TYPES
from zatotx.schema.service import SERVICE

BUILTIN_TYPES = (*SECURITY_TYPES, RATE_LIMIT, SERVICE)
