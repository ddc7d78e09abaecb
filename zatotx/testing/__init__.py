"""Small named doubles of the seams, and the contracts that real parts and doubles both keep."""
