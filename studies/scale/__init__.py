"""Studies on many workers: what survives, and what more workers bring."""
