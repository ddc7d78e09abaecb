"""A load balancer with several worker processes: what they share, and their parent."""
