"""How good, how fast and how big a variant is, on this machine, under this traffic."""
