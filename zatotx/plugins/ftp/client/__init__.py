"""The FTP client: control connections, data connections, sessions, and a pool of sessions."""
