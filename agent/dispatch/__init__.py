"""One port for everything: look at a connection's first bytes, then give it to the service that speaks them.

`peek` decides (pure), `dispatcher` listens and hands over, `relay` carries bytes to other processes, `config`
makes tables of listeners, routes and services from a settings file.
"""
