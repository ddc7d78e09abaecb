"""What the process of every component needs: listening sockets with TLS, worker processes and their supervision, the
lock of a directory, the secret key."""
