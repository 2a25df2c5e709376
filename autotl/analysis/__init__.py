"""What is known of a data set before training: its size, its domain, and the rules of thumb."""
