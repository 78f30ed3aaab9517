"""Things that stand about, each built of a few boxes, rods and balls around its place."""
