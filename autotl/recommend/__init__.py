"""The verdict, in words, in a page and as a model."""
