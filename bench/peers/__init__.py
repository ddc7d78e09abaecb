"""What `make bench` measures the broker against: the barest echo of each server, one small file each."""
