"""What the embedded backbone's weights are worth: against random weights, and against scratch."""
