"""How long a bundle takes, and where the time goes: `apdepth-deploy profile`."""
