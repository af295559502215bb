"""The only place where inference libraries are imported, one runtime a file."""
