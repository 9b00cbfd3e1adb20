"""How the tests here write down what a recorder saw."""

import pytest

from sounding.capture.node import following_activation
from sounding.capture.passes import record
from sounding.measure.attribution import main_path


class Seen:
    """One recorded pass, as text."""

    def __init__(self, recording):
        self.recording = recording
        self.nodes = recording.nodes

    def calls(self):
        """'name operation role <- makers of its inputs', a line each; inputs are left out."""
        return [
            f"{n.name} {n.operation} {n.role} <- {', '.join(self.nodes[i].name for i in n.inputs)}"
            for n in self.nodes
            if n.role != "input"
        ]

    def path(self):
        """Names on the main path."""
        return [self.nodes[i].name for i in main_path(self.nodes, self.recording.end)]

    def followers(self):
        """The activation behind each weighted call, '' for none."""
        found = {}
        for node in self.nodes:
            if node.role == "weight":
                follower = following_activation(node, self.nodes)
                found[node.name] = follower.operation if follower is not None else ""
        return found

    def weights(self):
        """Parameter and fans of each weighted call."""
        return {
            n.name: (n.weight, n.fan_in, n.fan_out, n.units)
            for n in self.nodes
            if n.role == "weight"
        }

    def node(self, name):
        return next(n for n in self.nodes if n.name == name)


@pytest.fixture
def see():
    """Record one pass and look at it; nothing may have failed."""

    def look(model, compute, inputs=()):
        recording = record(model, compute, inputs)
        assert recording.failures == ()
        assert recording.loss == recording.loss
        return Seen(recording)

    return look
