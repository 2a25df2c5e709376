"""What the analyzer's figures foretell, judged by the outcome table."""
