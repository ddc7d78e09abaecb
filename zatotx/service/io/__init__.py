"""Input and output of services: how they are declared, where input comes from, what answers look like."""
