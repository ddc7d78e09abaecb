"""The twistd plugin `zato-redis`. twistd imports all plugins at every start, so this module holds nothing but the
ServiceMaker."""

from twisted.application.service import ServiceMaker

zato_redis = ServiceMaker(
    'zatotx redis',
    'zatotx.tap.redis',
    'Runs and supervises the Redis (Valkey) server of a zatotx environment.',
    'zato-redis',
)
