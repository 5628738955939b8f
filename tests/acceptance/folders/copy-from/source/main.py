import http.server
import os
import subprocess
import sys

sys.path.insert(0, "/app/greetings.zip")
from lib.words import WORD


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        box = subprocess.check_output(["busybox", "echo", "busybox"], text=True).strip()
        text = f"{os.environ['GREETING']}, {WORD} ({box}, shout {os.environ['SHOUT']})"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())


http.server.HTTPServer(("", 7000), Handler).serve_forever()
