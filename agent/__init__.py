"""camera-agent: an edge camera agent and the camera server that completes it."""

__version__ = "0.1.0"
