"""Records of fits and trials."""
