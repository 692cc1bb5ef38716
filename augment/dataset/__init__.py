"""A dataset on disk: written, read, described and verified."""
