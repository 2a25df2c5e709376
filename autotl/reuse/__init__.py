"""What is computed once and used by every trial: decoded pixels, features of frozen networks."""
