"""Rendered scenes with exact depth (Mitsuba 3)."""
