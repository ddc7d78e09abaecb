"""The scheduler. The elected leader of the cluster writes the runs of jobs to the work stream when they are due."""
