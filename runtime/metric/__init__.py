"""What depth means in the world: metres, a steady stream, points. NumPy alone."""
