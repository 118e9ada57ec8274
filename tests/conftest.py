"""What holds for all tests: how long something takes is no test's business, on a busy machine least of all."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("pyswarm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pyswarm")
