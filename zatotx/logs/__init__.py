"""Log files, with buffered line writers, and the observer that writes the log of a process."""
