"""The Optuna study: which trial next, when to stop one, and where workers run."""
