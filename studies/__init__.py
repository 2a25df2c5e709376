"""Study definitions and the experiments behind the figures of the README."""
