"""Redis: the client, pub/sub announcements, leases, streams, and the embedded server of an environment."""
