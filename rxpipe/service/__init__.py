"""What a run tells the machinery around it: metrics, probes, JSON logs, and systemd.

What is where:

- ``service.py``: ``Service``, which puts all of it beside a run
- ``options.py``: what a user may ask for
- ``address.py``: ``HOST:PORT``, and listening there
- ``http_server.py``: a small HTTP server on threads
- ``health.py``: whether a run is alive, draining or stalled
- ``store_watch.py``: whether the store answers, and how many items wait in it
- ``probes.py``: ``/livez`` and ``/readyz``
- ``prometheus.py``: ``/metrics``; needs the extra ``metrics``
- ``gauges.py``: the metrics that no listener has
- ``pulse.py``: looks at the health once a second, and tells listeners and systemd
- ``systemd.py``: the notify protocol, as bytes on a socket
- ``notifying.py``: what is sent by it, and when
- ``json_logs.py``: everything on standard error as lines of JSON
"""
