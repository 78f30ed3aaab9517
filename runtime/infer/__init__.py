"""``apdepth-deploy infer``: joins feeds and a predictor."""
