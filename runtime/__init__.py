"""Bundle -> depth. Needs numpy, pillow and one engine library; never torch for a graph."""

from .backends import load, open_chain
from .predictor import Predictor

__all__ = ["Predictor", "load", "open_chain"]
