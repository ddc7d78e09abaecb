"""`twistd zato-redis`: found by twistd, imported on every start, hence nothing but the maker."""

from twisted.application.service import ServiceMaker

zato_redis = ServiceMaker(
    'zatotx redis',
    'zatotx.tap.redis',
    'The Redis (Valkey) of a zatotx environment, started and supervised.',
    'zato-redis',
)
