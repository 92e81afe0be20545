"""The dispatcher on its own: listeners, routes and services from a file, reloaded without touching what runs."""
