"""What computes: one file or folder an engine, each a ``Chain``.

Knows nothing about picture files, and not why an engine was chosen.
"""
