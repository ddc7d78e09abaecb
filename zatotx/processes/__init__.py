"""Code that the processes of all components share: listening sockets with TLS, worker processes and their supervision,
directory locks, and the secret key.
"""
