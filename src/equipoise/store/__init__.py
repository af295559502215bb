"""Studies, artifacts by digest, bundles, and the register of certify rows that were opened."""
