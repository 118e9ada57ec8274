"""Secrets and configs: small files that the swarm gives to tasks."""

from __future__ import annotations

from swarmcore.model.base import Driver, Object, Spec, secretless, shown


class SecretSpec(Spec, frozen=True, kw_only=True):
    data: bytes = b""
    driver: Driver | None = None
    templating: Driver | None = None

    def __repr__(self) -> str:
        return secretless(self, "data")


class Secret(Object, frozen=True, kw_only=True):
    spec: SecretSpec = shown(SecretSpec())


class ConfigSpec(Spec, frozen=True, kw_only=True):
    data: bytes = b""
    templating: Driver | None = None

    def __repr__(self) -> str:
        return secretless(self, "data")  # people put passwords into configs, too


class Config(Object, frozen=True, kw_only=True):
    spec: ConfigSpec = shown(ConfigSpec())
