from http.server import BaseHTTPRequestHandler, HTTPServer

from itsdangerous import URLSafeSerializer

serializer = URLSafeSerializer("not a secret")
GREETING = "Hello, world"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = (GREETING + " " + serializer.dumps({"path": self.path})).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    HTTPServer(("", 5000), Handler).serve_forever()
