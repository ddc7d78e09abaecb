"""The Redis package: the client, publish/subscribe, leases, streams, and the embedded server of an environment."""
