"""Real fits: against other policies, the clock, and the truth."""
