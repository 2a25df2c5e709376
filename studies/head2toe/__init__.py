"""Whether finer pooling, and selecting features, make the linear model better."""
