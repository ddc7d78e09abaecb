"""The running backends of a load balancer, with their servers, health checks and queues."""
