"""Statistics of a load balancer: counters, their sums over the workers, the statistics page, metrics, the log."""
