"""A collector of OpenTelemetry's traces: it takes OTLP over HTTP in JSON, as any other one does."""

import http.server
import json
import threading
import time


class Collector:
    """Listens on a port of its own; `spans` are those that have come, in their order, as OTLP has them.

    `hold` keeps requests from being answered until it is cleared.
    """

    def __init__(self, hold: bool = False):
        self.spans, self.resources, self.status = [], [], 200
        self.free = threading.Event()
        if not hold:
            self.free.set()
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                collector.free.wait(60)
                assert self.path == "/v1/traces" and self.headers["Content-Type"] == "application/json"
                if collector.status == 200:
                    for part in body["resourceSpans"]:
                        collector.resources.append(attributes(part["resource"]))
                        for scope in part["scopeSpans"]:
                            collector.spans.extend(scope["spans"])
                answer = b"{}"
                self.send_response(collector.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                """A server that ends does not wait for answers."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def of(self, trace: str) -> list:
        return [s for s in self.spans if s["traceId"] == trace]

    def wait(self, trace: str, number: int) -> list:
        """The spans of a trace, once there are so many of them."""
        deadline = time.monotonic() + 30
        while len(found := self.of(trace)) < number:
            assert time.monotonic() < deadline, f"{len(found)} spans of {trace}, expected {number}"
            time.sleep(0.02)
        return found

    def close(self) -> None:
        self.free.set()
        self.server.shutdown()
        self.server.server_close()


def attributes(thing: dict) -> dict:
    """Attributes by key, as Python's values."""
    make = {"stringValue": str, "intValue": int, "boolValue": bool}

    def value(v):
        ((kind, content),) = v.items()
        return make[kind](content)

    return {a["key"]: value(a["value"]) for a in thing["attributes"]}
