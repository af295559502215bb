"""Small networks that are taught by a larger model: one family a file, each one plain torch."""
