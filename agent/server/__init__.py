"""The camera server, embedded in the agent's process or alone; the same code."""
