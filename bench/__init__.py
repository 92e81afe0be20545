"""Speed and memory, measured side by side and printed as ratios: `python -m bench [TOPIC…]`. A topic is a file here."""
