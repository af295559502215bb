"""One file per verb: parse, call `flow`, print."""
