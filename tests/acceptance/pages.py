"""The smallest folder that deploys: pages, served by busybox."""

DOCKERFILE = """\
FROM busybox
WORKDIR /www
COPY . .
EXPOSE 8080
CMD ["httpd", "-f", "-p", "8080"]
"""

PAGES = {"Dockerfile": DOCKERFILE, "index.html": "first"}
