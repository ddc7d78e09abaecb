"""The FTP client: a control connection, data connections, sessions, and a pool of them."""
