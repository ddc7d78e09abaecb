"""Code that the HTTP kind and the load balancer share: writers for transports that a slow peer may block, and pools of
idle connections.
"""
