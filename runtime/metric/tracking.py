"""Scale and shift from frame to frame, so that frames without anchors have metres for a while.

A Kalman filter on x = (scale, shift): x walks at random, P grows by Q dt, Q = (w r)^2 I with r =
scale + |shift|; a fit is a measurement with its own covariance R. Its innovation v is believed
where v' (P + R)^-1 v is under the gate (99.9 % of chi-squared with 2 degrees of freedom); two
unbelievable ones in a row are a new state (Bar-Shalom et al., Estimation with Applications to
Tracking and Navigation, 2001, ch. 5).
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from apdepth_deploy.errors import UsageError

from .fit import Floats
from .metres import Fit, no_fit

#: w: an affine-invariant model's scale and shift move so much in a second, of themselves.
_WALK = 0.1
#: A fit is never surer than this, of r: noise of the sensor is not all that is wrong.
_FLOOR = 0.005
_GATE = 13.8


class FitFilter:
    """The state of one stream: ``steady(fit, seconds)`` -> a ``Fit``.

    Attributes:
        age: seconds since a fit was last believed; infinite before the first.
    """

    def __init__(self, hold: float = 1.0) -> None:
        """``hold``: seconds that metres are given for without anchors.

        Raises UsageError where it isn't above 0.
        """
        if not hold > 0.0:
            raise UsageError(f"hold must be above 0 seconds, not {hold}")
        self.hold = hold
        self.reset()

    def reset(self) -> None:
        """Forget everything: the picture was cut."""
        self._line: Floats | None = None
        self._covariance: Floats = np.zeros((2, 2))
        self._seen = self._believed = -math.inf
        self._doubted = False
        self._last = no_fit("no anchors yet")
        self.age = math.inf

    def __call__(self, fit: Fit | None, seconds: float) -> Fit:
        """The fit to use at a time.

        Args:
            fit: this frame's, valid or not; None where it had no anchors.
            seconds: the frame's time, growing from call to call.

        Returns a fit with the filtered scale and shift. It has the frame's own field; carried over,
        none. Not valid once ``age`` is above ``hold``.

        Raises UsageError where time goes backwards.
        """
        if not seconds >= self._seen:
            raise UsageError(f"time went back from {self._seen} to {seconds} s: reset() first")
        passed, self._seen = seconds - self._seen, seconds
        if self._line is not None and math.isfinite(passed):
            self._covariance = self._covariance + np.eye(2) * (_WALK * self._reach()) ** 2 * passed
        told = fit is not None and fit.valid and self._take(fit)
        if told:
            self._believed = seconds
        self.age = seconds - self._believed
        if self._line is None:
            return fit if fit is not None else self._last
        if self.age > self.hold:
            reason = "" if fit is None or not fit.why else f" ({fit.why})"
            return no_fit(f"no anchors to believe for {self.age:.1f} s{reason}")
        scale, shift = (float(value) for value in self._line)
        covariance = self._covariance.copy()
        field = self._last.field if told else None
        return dataclasses.replace(
            self._last, scale=scale, shift=shift, covariance=covariance, field=field
        )

    def _reach(self) -> float:
        assert self._line is not None
        return float(self._line[0] + abs(self._line[1]))

    def _take(self, fit: Fit) -> bool:
        """Whether the fit was believed."""
        measured = np.array([fit.scale, fit.shift])
        floor = np.eye(2) * (_FLOOR * (fit.scale + abs(fit.shift))) ** 2
        noise = fit.covariance + floor
        if self._line is None:
            return self._begin(fit, measured, noise)
        innovation = measured - self._line
        total = self._covariance + noise
        if float(innovation @ np.linalg.solve(total, innovation)) > _GATE:
            if self._doubted:
                return self._begin(fit, measured, noise)
            self._doubted = True
            return False
        gain = np.linalg.solve(total, self._covariance).T
        self._line = self._line + gain @ innovation
        self._covariance = self._covariance - gain @ self._covariance
        self._doubted, self._last = False, fit
        return True

    def _begin(self, fit: Fit, measured: Floats, noise: Floats) -> bool:
        self._line, self._covariance = measured, noise
        self._doubted, self._last = False, fit
        return True
