"""What really happens: every strategy, in many settings, on many data sets, with its test score."""
