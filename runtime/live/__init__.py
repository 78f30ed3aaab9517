"""``apdepth-deploy live``: joins a stream, a predictor, and videos of depth."""
