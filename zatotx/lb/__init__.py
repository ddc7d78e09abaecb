"""The load balancer. Nothing of it is needed before its own issue."""
