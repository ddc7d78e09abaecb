"""The running backends of a load balancer: servers, health checks, queues."""
