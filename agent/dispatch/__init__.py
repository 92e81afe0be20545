"""One port for everything: look at a connection's first bytes, then give it to the service that speaks them.

`peek` decides (pure) by the rules of `matchers`; `dispatcher` listens, waits in `sniffer` and hands over to `services`
of this process or to `relay`. A library of its own: it knows nothing of cameras.
"""
