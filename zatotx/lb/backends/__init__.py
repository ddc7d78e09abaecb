"""The backends of a load balancer at run time: servers, their health, queues."""
