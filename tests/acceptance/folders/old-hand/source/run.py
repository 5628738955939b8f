import http.server
import pathlib


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        names = ("tool.txt", "etc/main.conf", "etc/with space.txt")
        body = " / ".join(pathlib.Path(name).read_text().strip() for name in names)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())


http.server.HTTPServer(("", 8000), Handler).serve_forever()
