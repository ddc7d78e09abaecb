"""A server of several processes: the parent that holds the sockets, its workers, and what workers share."""
