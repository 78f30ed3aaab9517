"""What scenes are made of: things that stand about, each of a few boxes, rods and balls."""
