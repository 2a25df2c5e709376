"""Data sets behind URLs, on a server that speaks S3."""
