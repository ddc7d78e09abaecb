"""The processes that host services and channels: servers, and later connectors."""
