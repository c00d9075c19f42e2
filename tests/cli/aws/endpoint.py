"""The two calls of EC2 about FPGA images, for the real `aws` program; prints its port.

An image is pending for one look, then available. Calls with the same client token are the same image.
"""

import html
import urllib.parse
from http.server import BaseHTTPRequestHandler, HTTPServer

images = {}
looks = {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, action, body):
        text = f'<?xml version="1.0"?><{action}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">{body}</{action}Response>'
        self.send_response(status)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_POST(self):
        size = int(self.headers["Content-Length"])
        form = {k: v[0] for k, v in urllib.parse.parse_qs(self.rfile.read(size).decode()).items()}
        action = form["Action"]
        if action == "CreateFpgaImage":
            assert form["InputStorageLocation.Bucket"] and form["InputStorageLocation.Key"], form
            number = images.setdefault(form["ClientToken"], len(images) + 1)
            ids = f"<fpgaImageId>afi-{number:017x}</fpgaImageId><fpgaImageGlobalId>agfi-{number:017x}</fpgaImageGlobalId>"
            return self.answer(200, action, ids)
        afi = form["FpgaImageId.1"]
        if action != "DescribeFpgaImages" or int(afi.removeprefix("afi-"), 16) not in images.values():
            code = "<Errors><Error><Code>InvalidFpgaImageID.NotFound</Code><Message>no image</Message></Error></Errors>"
            return self.answer(400, action, code)
        looks[afi] = looks.get(afi, 0) + 1
        state = "pending" if looks[afi] < 2 else "available"
        item = f"<item><fpgaImageId>{html.escape(afi)}</fpgaImageId><state><code>{state}</code></state></item>"
        return self.answer(200, action, f"<fpgaImageSet>{item}</fpgaImageSet>")


server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
