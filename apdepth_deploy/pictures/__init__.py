"""Files as uint8 RGB, and depth as files."""
