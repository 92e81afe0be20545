"""The commands, one file each; `agent/cli.py` has their table and loads a file when its command is called."""
