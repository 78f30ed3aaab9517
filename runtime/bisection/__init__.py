"""From a miss to its node, with Polygraphy: layer by layer, then the smallest graph that departs."""
