"""Redis: the client, the bus, and the server that an environment brings along."""
