"""The statistics of a load balancer: counters, their sums over all workers, the statistics page, metrics, and the
request log.
"""
