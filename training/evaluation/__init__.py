"""The evaluation protocol: any model on any set."""
