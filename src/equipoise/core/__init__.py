"""The nouns: frozen records that round-trip through JSON, one a file, with their units in their names."""
