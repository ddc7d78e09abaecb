"""The TCP mode of the load balancer: connections of any protocol."""
