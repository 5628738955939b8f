"""Asks the running app whether it is well: `python -m app.healthcheck` ends with 0 when it is.

In Python, because the image has no curl.
"""

import http.client
import sys


def is_healthy(port: int = 8000) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if is_healthy() else 1)
