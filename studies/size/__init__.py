"""How well the learning curve of half the data foretells the accuracy on all of it."""
