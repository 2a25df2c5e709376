"""What is killed, away, full or hostile, and what a fit makes of it."""
