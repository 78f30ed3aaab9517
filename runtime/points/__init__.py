"""``apdepth-deploy points``: joins feeds, a predictor, cameras and clouds."""
