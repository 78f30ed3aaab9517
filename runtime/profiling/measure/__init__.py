"""A bundle, a machine and a plan to numbers. Knows nothing about how they are shown."""
