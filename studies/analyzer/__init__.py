"""How right and how dear the analyzer's figures of a backbone are."""
