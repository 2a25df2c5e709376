"""Whether a backbone does better at another resolution, and what that costs."""
