"""The modes of services that the orchestrator knows: how each chooses its places. Services of others rest."""

from __future__ import annotations

from collections.abc import Mapping

from manager.orchestrator.places import Choose
from manager.orchestrator.replicated_slots import choose_slots

CHOOSE: Mapping[str, Choose] = {"replicated": choose_slots}
