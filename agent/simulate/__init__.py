"""A fake network camera for tests, benches and `camera-agent simulate`: one real socket, all the ways to misbehave."""

from agent.media.faults import FAULTS, Fault, parse_fault
from agent.media.spoil import read_stamp
from agent.simulate.camera import SimulatedCamera
from agent.simulate.login import LOGINS
from agent.simulate.styles import STYLES

__all__ = ["FAULTS", "LOGINS", "STYLES", "Fault", "SimulatedCamera", "parse_fault", "read_stamp"]
