"""Data sets: readers of real layouts, transforms, mixing."""
