"""Pretrained networks: found by name, cut into stages, timed."""
