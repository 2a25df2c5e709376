"""What longer schedules are worth."""
