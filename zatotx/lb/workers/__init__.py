"""Load balancers with several worker processes: their parent process, and the state that they share."""
