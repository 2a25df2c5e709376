"""Whether the expected score of the best of many configs is right."""
