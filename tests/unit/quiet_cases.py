"""Folders of which a check must not tell something: code, files."""

from __future__ import annotations

from check_cases import APP, AWS, PYTHON

NOT_TOLD: dict[str, tuple[str, dict[str, str | bytes]]] = {
    "a wildcard that matches nothing": ("copy_source_missing", {"Dockerfile": PYTHON + "COPY lock* ./\n"}),
    "what only the service's platform needs": (
        "copy_source_missing",
        {
            "compose.yaml": "services:\n  a:\n    build: .\n    platform: linux/s390x\n"
            "  b: {build: {context: ./b, platforms: [linux/s390x]}}\n",
            "Dockerfile": "FROM busybox:1\nARG TARGETARCH\nCOPY bin/$TARGETARCH /\n",
            "bin/s390x": "x",
            "b/Dockerfile": "FROM busybox:1\nARG TARGETPLATFORM\nCOPY bin/$TARGETPLATFORM /\n",
            "b/bin/linux/s390x": "x",
        },
    ),
    "what another target makes": (
        "copy_source_missing",
        {"Dockerfile": "FROM a:1 AS a\nFROM a:1\nCOPY --from=a /no /\n"},
    ),
    "a document in the Dockerfile": ("copy_source_missing", {"Dockerfile": PYTHON + "COPY <<EOF /a\nx\nEOF\n"}),
    "an image as it is": (
        "copy_from_unknown",
        {"Dockerfile": "FROM a:1 AS builder\nFROM a:1\nCOPY --from=nginx /a /\n"},
    ),
    "what a context beside the main one is": (
        "base_not_pinned",
        {
            "compose.yaml": "services:\n  a:\n    build:\n      context: .\n      additional_contexts:\n"
            "        basei: service:b\n        docker.io/library/other: ./x\n        shared: ./x\n"
            "  b: {build: ./x}\n",
            "Dockerfile": "FROM basei\nCOPY --from=shared /f /f\nFROM basei\n",
            "x/Dockerfile": "FROM busybox:1\n",
        },
    ),
    "a digest": ("base_not_pinned", {"Dockerfile": f"FROM python@sha256:{'a' * 64}\n"}),
    "an own target": ("base_not_pinned", {"Dockerfile": "FROM a:1 AS base\nFROM base\n"}),
    "a port in the registry's name": ("base_not_pinned", {"Dockerfile": "FROM reg:5000/a:1\n"}),
    "ADD with a checksum": (
        "add_without_checksum",
        {"Dockerfile": PYTHON + f"ADD --checksum=sha256:{'a' * 64} https://a.example/b /\n"},
    ),
    "a shell's own variable": (
        "variable_undeclared",
        {"Dockerfile": "ARG f=1\nFROM a:1\nRUN for f in 1 2; do echo $f; done\n"},
    ),
    "a default of its own": ("variable_undeclared", {"Dockerfile": "FROM scratch\nENV A=${B:-x}\n"}),
    "what ENV sets above": ("variable_undeclared", {"Dockerfile": "FROM scratch\nENV A=1\nENV B=$A/x PATH=$PATH:/b\n"}),
    "what a base's ENV sets": ("variable_undeclared", {"Dockerfile": PYTHON + "ENV B=$GPG_KEY\n"}),
    "an ARG that a RUN may see": ("arg_unused", {"Dockerfile": PYTHON + "ARG DEBIAN_FRONTEND=x\nRUN true\n"}),
    "what a build passes itself": ("arg_unused", {"Dockerfile": PYTHON + "ARG CACHE_BUST\n"}),
    "a folder below an absolute one": ("workdir_relative", {"Dockerfile": PYTHON + "WORKDIR /srv\nWORKDIR app\n"}),
    "two targets with a CMD each": (
        "several_commands",
        {"Dockerfile": 'FROM a:1 AS a\nCMD ["a"]\nFROM a\nCMD ["b"]\n'},
    ),
    "exec": ("command_in_shell_form", {"Dockerfile": PYTHON + "CMD exec python main.py\n"}),
    "nothing listens": ("no_healthcheck", {"Dockerfile": PYTHON}),
    "a user": ("runs_as_root", {"Dockerfile": PYTHON + "USER app\n"}),
    "a user of the base target": ("runs_as_root", {"Dockerfile": "FROM a:1 AS b\nUSER 10\nFROM b\n"}),
    "a script that drops root": (
        "runs_as_root",
        {"Dockerfile": PYTHON + 'COPY start.sh /\nENTRYPOINT ["/start.sh"]\n', "start.sh": 'exec gosu app "$@"\n'},
    ),
    "a key in a target that is copied from": (
        "secret_value",
        {"Dockerfile": f"FROM a:1 AS b\nENV AWS={AWS}\nFROM a:1\nCOPY --from=b /dist /\n"},
    ),
    "addresses as everybody writes them": (
        "secret_value",
        {
            "Dockerfile": PYTHON
            + "ENV A=postgres://postgres:postgres@localhost:5432/db B=redis://user:password@redis/0\n"
            "ENV C=mysql://app:changeme@db/x D=amqp://guest:guest@mq/\n"
        },
    ),
    "what tells of a secret": (
        "secret_name",
        {
            "Dockerfile": PYTHON
            + "ENV TOKEN_FILE=/run/x MAX_TOKENS=512 SECRET_NAME=a DB_PASSWORD= TOKENIZERS_PARALLELISM=false\n"
        },
    ),
    "chown of something else": (
        "layer_doubled",
        {"Dockerfile": PYTHON + "COPY app /srv/app\nRUN chown -R me /data && chmod +x /srv/app/main.py\n", **APP},
    ),
    "chown before the COPY": (
        "layer_doubled",
        {"Dockerfile": PYTHON + "RUN chown -R me /srv\nCOPY app /srv/\n", **APP},
    ),
    "the manifest first": (
        "copy_before_install",
        {"Dockerfile": PYTHON + "COPY requirements.txt .\nRUN pip install -r requirements.txt\nCOPY . .\n", **APP},
    ),
    "a second install": (
        "copy_before_install",
        {
            "Dockerfile": "FROM node:18\nCOPY package.json .\nRUN npm ci\nCOPY . .\nRUN npm ci\n",
            "package.json": "{}",
            "a.js": "x",
        },
    ),
    "a global tool": (
        "copy_before_install",
        {"Dockerfile": "FROM node:18\nCOPY . .\nRUN npm install -g serve\n", "package.json": "{}", "a.js": "x"},
    ),
    "torch for the CPU": (
        "gpu_packages",
        {
            "Dockerfile": PYTHON
            + "RUN pip install torch --index-url https://d.example/whl/cpu\nRUN pip install ultralytics timm\n"
        },
    ),
    "torch on CUDA": ("gpu_packages", {"Dockerfile": "FROM nvidia/cuda:12.1-base\nRUN pip install torch\n"}),
    "torch elsewhere": (
        "gpu_packages",
        {
            "Dockerfile": PYTHON + "COPY requirements.txt .\nRUN pip install -r requirements.txt\n",
            "requirements.txt": 'torch; sys_platform == "darwin"\n',
        },
    ),
    "a GPU in the compose file": (
        "gpu_packages",
        {
            "compose.yaml": "services:\n  a:\n    build: .\n    gpus: all\n",
            "Dockerfile": PYTHON + "RUN pip install torch\n",
        },
    ),
    "lists removed": (
        "apt_lists",
        {"Dockerfile": PYTHON + "RUN apt-get update && apt-get install git && rm -rf /var/lib/apt/lists/*\n"},
    ),
    "lists in a cache": (
        "apt_lists",
        {"Dockerfile": PYTHON + "RUN --mount=type=cache,target=/var/lib/apt apt-get install git\n"},
    ),
    "pip's cache mounted": (
        "pip_cache",
        {"Dockerfile": PYTHON + "RUN --mount=type=cache,target=/root/.cache/pip pip install a\n"},
    ),
    "pip's cache switched off": ("pip_cache", {"Dockerfile": PYTHON + "ENV PIP_NO_CACHE_DIR=1\nRUN pip install a\n"}),
    "curl into a file": (
        "pipe_to_shell",
        {"Dockerfile": PYTHON + "RUN curl -o a.sh https://a.example && sha256sum -c s\n"},
    ),
    "a certificate": (
        "secret_in_image",
        {"Dockerfile": PYTHON + "COPY . .\n", "ca.pem": "-----BEGIN CERTIFICATE-----\n"},
    ),
    "a public key": ("secret_in_image", {"Dockerfile": PYTHON + "COPY . .\n", "id_rsa.pub": "ssh-rsa AAAA\n"}),
    "a token from the environment": (
        "secret_in_image",
        {"Dockerfile": PYTHON + "COPY .npmrc /\n", ".npmrc": "//r.example/:_authToken=${NPM_TOKEN}\n"},
    ),
    "an example of settings": (
        "secret_in_image",
        {"Dockerfile": PYTHON + "COPY . .\n", ".env.example": "API_KEY=abcd\n"},
    ),
    "a key that is left out": ("secret_in_context", {"Dockerfile": PYTHON, ".dockerignore": "id_rsa\n", "id_rsa": "x"}),
    "a key that stays in another target": (
        "secret_in_image",
        {
            "Dockerfile": "FROM node:18 AS build\nWORKDIR /app\nCOPY . .\n"
            "FROM nginx:1\nCOPY --from=build /app/dist /w\n",
            "id_rsa": "x",
        },
    ),
    "settings that stay in another target": (
        "env_file_in_image",
        {
            "Dockerfile": "FROM node:18 AS build\nCOPY . /app\nFROM nginx:1\nCOPY --from=build /app/dist /w\n",
            ".env": "PORT=1\n",
        },
    ),
    "a key that a mount brings": (
        "secret_in_image",
        {"Dockerfile": PYTHON + "RUN --mount=type=bind,target=/src true\n", "id_rsa": "x"},
    ),
    "files that are never together": (
        "requirements_conflict",
        {"Dockerfile": PYTHON, "requirements.txt": "a==1\n", "requirements-dev.txt": "a==2\n"},
    ),
    "markers that exclude each other": (
        "requirements_conflict",
        {"Dockerfile": PYTHON, "requirements.txt": 'a==1; python_version < "3.8"\na==2; python_version >= "3.8"\n'},
    ),
    "ranges that meet": (
        "requirements_conflict",
        {"Dockerfile": PYTHON, "requirements.txt": "a>=1.2,<2\na!=1.2,>1.1\n-c c.txt\n", "c.txt": "a<1.2.1\n"},
    ),
    "every form that pip reads": (
        "requirements_unreadable",
        {
            "Dockerfile": PYTHON,
            "requirements.txt": "# x\n--index-url https://i.example/simple\n-e ./lib\n./wheels/a.whl\n"
            "git+https://g.example/a.git@v1#egg=a\na @ https://g.example/a.whl\n"
            "b[x,y]>=1 ; python_version > '3' # why\n"
            "c==1 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\nd == 1.*\n",
        },
    ),
    "a folder of the tree": (
        "requirements_unreadable",
        {"Dockerfile": PYTHON, "requirements.txt": "libs/common\nlibs/other[x]\n-r ${WHICH}.txt\n"},
    ),
    "a stage for what an official image is copied from": (
        "copy_from_unknown",
        {"Dockerfile": "FROM php:8 AS composer-deps\nCOPY --from=composer /usr/bin/composer /c\n"},
    ),
    "what UTF-16 says": (
        "requirements_unreadable",
        {"Dockerfile": PYTHON, "requirements.txt": "\ufeffflask==2.0\n".encode("utf-16-le")},
    ),
    "a range for one port": (
        "compose_port_conflict",
        {
            "compose.yaml": "services:\n  a: {image: x:1, ports: ['3000-3010:3000']}\n"
            "  b: {image: x:1, ports: ['3000-3010:3000']}\n"
        },
    ),
    "all addresses of both families": (
        "compose_port_conflict",
        {"compose.yaml": "services:\n  a: {image: x:1, ports: ['0.0.0.0:80:80', '[::]:80:80']}\n"},
    ),
    "a port that is taken away": (
        "compose_port_conflict",
        {
            "compose.yaml": "services:\n  a: {image: x:1, ports: ['80:80']}\n  b: {image: x:1, ports: ['80:80']}\n",
            "compose.override.yaml": "services:\n  b:\n    ports: !reset []\n",
        },
    ),
    "a service of an included file": (
        "compose_unknown_service",
        {
            "compose.yaml": "include: [db.yaml]\nservices:\n  a: {image: x:1, depends_on: [db]}\n",
            "db.yaml": "services:\n  db: {image: x:1}\n",
        },
    ),
    "a build in the file that is laid over": (
        "compose_no_image",
        {
            "compose.yaml": "services:\n  a: {tty: true}\n",
            "compose.override.yaml": "services:\n  a: {build: .}\n",
            "Dockerfile": PYTHON,
        },
    ),
    "a default of a default": (
        "compose_path_missing",
        {"compose.yaml": 'services:\n  a: {build: "${A1:-${B1:-.}}"}\n', "Dockerfile": PYTHON},
    ),
    "a file that only a profile's service has not": (
        "compose_path_missing",
        {"compose.yaml": "services:\n  a: {image: x:1}\n  b: {build: ./no, profiles: [p]}\n"},
    ),
    "ports of the engine's choice": (
        "compose_port_conflict",
        {
            "compose.yaml": "services:\n  a: {image: x:1, ports: ['80', '53:53/udp']}\n"
            "  b: {image: x:1, ports: ['80', '53:53/tcp']}\n"
        },
    ),
    "one port on two addresses": (
        "compose_port_conflict",
        {
            "compose.yaml": "services:\n  a: {image: x:1, ports: ['127.0.0.1:80:80']}\n"
            "  b: {image: x:1, ports: ['127.0.0.2:80:80']}\n"
        },
    ),
    "a password from outside": (
        "compose_secret",
        {"compose.yaml": "services:\n  a:\n    image: x:1\n    environment: ['DB_PASSWORD=${P:-x}', API_KEY]\n"},
    ),
    "an environment file that may be missing": (
        "compose_path_missing",
        {"compose.yaml": "services:\n  a:\n    image: x:1\n    env_file: [{path: .env.no, required: false}]\n"},
    ),
    "a health check in the compose file": (
        "no_healthcheck",
        {
            "Dockerfile": PYTHON + "EXPOSE 80\n",
            "compose.yaml": "services:\n  a:\n    build: .\n    healthcheck: {test: [CMD, 'true']}\n",
        },
    ),
    "a user in the compose file": (
        "runs_as_root",
        {"Dockerfile": PYTHON, "compose.yaml": "services:\n  a:\n    build: .\n    user: '1000'\n"},
    ),
}
