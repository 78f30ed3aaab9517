"""Bundle -> depth. Needs numpy, pillow and one engine library; never torch for a graph."""

from .choice import load
from .engines.device_array import DeviceArray
from .engines.onnxruntime_backend import open_chain
from .metric.metres import Fit, fit_metres
from .metric.stabilizer import Stabilizer
from .predictor import Predictor

__all__ = ["DeviceArray", "Fit", "Predictor", "Stabilizer", "fit_metres", "load", "open_chain"]
