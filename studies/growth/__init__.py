"""What training on all development samples brings after validation on folds."""
