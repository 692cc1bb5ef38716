"""One classifier: what it sees, how it is trained and tested."""
