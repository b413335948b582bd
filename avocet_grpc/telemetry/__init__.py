"""What the service reports of itself: logs, metrics, and the named crash points of the tests.

Owns
    The format of a log line and the way it is written. The metrics of one process, and the HTTP listener for
    Prometheus. The guard around everything that may fail without ending a call.

May import
    `core` (the Observer, the nouns), `layout`, `wording`, and the package for its version; structlog and
    prometheus-client.

Reading order
    `logs`, `log_writer`   a bounded queue and one thread, so that a full pipe never delays a call
    `guard`                what fails in the background is logged and counted, and work goes on
    `metrics`              an Observer that counts; `listener` serves what the supervisor has added up
    `failpoints`           places where a test may kill a process

Rules
    - Never log what was in a call: no texts, no tokens, no lease ids.
    - The core and the mirror report to `core.observer.Observer`; they do not import this room's metrics.
    - Modules that need prometheus-client are loaded only if somebody wants metrics.
"""
