"""Near-duplicates: what is found of planted versions, and what is linked among the originals."""
