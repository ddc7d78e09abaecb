"""What several tests need: real servers on free loopback ports, environments in temporary directories."""
