"""From depth to space: cameras and points. NumPy alone; knows no engine and no verb."""
