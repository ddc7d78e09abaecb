"""The TCP mode of the load balancer, which forwards connections of any protocol."""
