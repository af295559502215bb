"""What is cheapest within the limits: the search, the Pareto set, the certificate; no input or output."""
