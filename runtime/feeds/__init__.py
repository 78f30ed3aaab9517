"""Where frames come from. Knows no engine."""
