"""How large a spec may be."""

from __future__ import annotations

import pytest

from manager.rules.sizes import MAX_SPEC, spec_size
from swarmcore.errors import Invalid
from swarmcore.model.node import NodeSpec


def test_a_spec_that_does_not_fit_an_entry_is_refused_by_its_name() -> None:
    spec_size(NodeSpec(labels={"a": "x" * (MAX_SPEC - 1000)}), "the node")
    with pytest.raises(Invalid, match="the spec of the node is larger than 1 MiB"):
        spec_size(NodeSpec(labels={"a": "x" * MAX_SPEC}), "the node")
