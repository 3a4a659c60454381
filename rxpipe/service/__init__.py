"""Reports a run to its environment: metrics, probes, JSON logs, and systemd.

- ``service.py``: ``Service``, which puts all of this beside a run
- ``options.py``: the user's options
- ``address.py``: ``HOST:PORT``, and listening there
- ``http_server.py``: a small HTTP server on threads
- ``health.py``: finds out if a run is alive, draining or stalled
- ``store_watch.py``: checks that the store answers, and counts the items that wait in it
- ``probes.py``: ``/livez`` and ``/readyz``
- ``prometheus.py``: ``/metrics``; needs the extra ``metrics``
- ``gauges.py``: the metrics that no listener has
- ``pulse.py``: looks at the health once a second, and reports it to listeners and systemd
- ``systemd.py``: the notify protocol, as bytes on a socket
- ``notifying.py``: the messages to systemd, and when they are sent
- ``json_logs.py``: everything on standard error as lines of JSON
"""
