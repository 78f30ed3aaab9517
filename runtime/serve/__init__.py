"""``apdepth-deploy serve``: depth over HTTP, and the page."""
