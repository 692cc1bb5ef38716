"""Starts to shards."""
