"""Verbs that belong to no single room."""
