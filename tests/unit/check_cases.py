"""Folders of which a check tells something, by what is wrong with them: code, place, files."""

from __future__ import annotations

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n"
AWS = "AKIA" + "Q3EGRYWVXZ7LM2NP"
PYTHON = "FROM python:3.11-slim\n"
APP = {"app/main.py": "x", "requirements.txt": "requests==2.31.0\n"}
TOLD: dict[str, tuple[str, str, dict[str, str]]] = {
    # what is wrong: code, place, files
    "an unknown instruction": ("dockerfile_syntax", "Dockerfile:2", {"Dockerfile": PYTHON + "COPPY a b\n"}),
    "a target that comes later": (
        "dockerfile_syntax",
        "Dockerfile:2",
        {"Dockerfile": "FROM a:1\nCOPY --from=later /a /a\nFROM a:1 AS later\nFROM a:1\nCOPY --from=0 /a /\n"},
    ),
    "a source that is not there": ("copy_source_missing", "Dockerfile:2", {"Dockerfile": PYTHON + "COPY no.txt /\n"}),
    "a source that is left out": (
        "copy_source_missing",
        "Dockerfile:2",
        {"Dockerfile": PYTHON + "COPY app /\n", ".dockerignore": "# all\n*\n", **APP},
    ),
    "a mount that is not there": (
        "copy_source_missing",
        "Dockerfile:2",
        {"Dockerfile": PYTHON + "RUN --mount=type=bind,source=no,target=/x true\n"},
    ),
    "a source of a target that nobody needs": (
        "copy_source_missing_unused",
        "Dockerfile:2",
        {"Dockerfile": "FROM busybox:1 AS tests\nCOPY no.txt /\nFROM busybox:1\n"},
    ),
    "a target of nearly that name": (
        "copy_from_unknown",
        "Dockerfile:3",
        {"Dockerfile": "FROM busybox:1 AS builder\nFROM busybox:1\nCOPY --from=biulder /a /\n"},
    ),
    "an argument that names a source and has no value": (
        "arg_without_value",
        "Dockerfile:3",
        {"Dockerfile": PYTHON + "ARG ENV\nCOPY app conf/${ENV}.json /\n", "conf/prod.json": "{}", **APP},
    ),
    "a FROM that names no image": (
        "arg_without_value",
        "Dockerfile:2",
        {"Dockerfile": "ARG BASE\nFROM ${BASE}\nCOPY app /\n", **APP},
    ),
    "a FROM that wants a value": ("arg_without_value", "Dockerfile:2", {"Dockerfile": "ARG B\nFROM ${B:?}\n"}),
    "a value that is asked for": (
        "arg_without_value",
        "Dockerfile:3",
        {"Dockerfile": PYTHON + "ARG V\nENV V=${V:?needed}\nARG W=1\nENV W=${W:?}\nRUN echo ${X:?}\n"},
    ),
    "a target that is none": (
        "target_unknown",
        "compose.yaml:5",
        {
            "compose.yaml": "services:\n  a:\n    build:\n      context: .\n      target: nope\n",
            "Dockerfile": "FROM busybox:1 AS prod\n",
        },
    ),
    "a FROM without a version": ("arg_without_value", "Dockerfile:2", {"Dockerfile": "ARG V=\nFROM python:$V\n"}),
    "a source beside one that has no value": (
        "copy_source_missing",
        "Dockerfile:3",
        {"Dockerfile": PYTHON + "ARG ENV\nCOPY no.txt conf/${ENV}.json /\n"},
    ),
    "a Dockerfile in the compose file": (
        "dockerfile_syntax",
        "compose.yaml:7",
        {
            "compose.yaml": "services:\n  a:\n    build:\n      context: .\n      dockerfile_inline: |\n"
            "        FROM busybox:1\n        RUNN true\n"
        },
    ),
    "a Dockerfile in the compose file, on one line": (
        "dockerfile_syntax",
        "compose.yaml:4",
        {"compose.yaml": 'services:\n  a:\n    build:\n      dockerfile_inline: "FROM busybox:1\\nRUNN true\\n"\n'},
    ),
    "a port twice, in a file that is laid over": (
        "compose_port_conflict",
        "compose.override.yaml:3",
        {
            "compose.yaml": "services:\n  a: {image: x:1, ports: ['8000:80']}\n  b: {image: x:1}\n",
            "compose.override.yaml": "services:\n  b:\n    ports: ['8000:81']\n",
        },
    ),
    "a Dockerfile of an included file": (
        "several_commands",
        "web/Dockerfile:2",
        {
            "compose.yaml": "include: [web/compose.yaml]\nservices:\n  a: {image: x:1}\n",
            "web/compose.yaml": "services:\n  w: {build: .}\n",
            "web/Dockerfile": PYTHON + 'CMD ["a"]\nCMD ["b"]\n',
        },
    ),
    "a build of an included file that is not there": (
        "compose_path_missing",
        "web/compose.yaml:3",
        {
            "compose.yaml": "include: [web/compose.yaml]\nservices:\n  a: {image: x:1}\n",
            "web/compose.yaml": "services:\n  w:\n    build: ./no\n",
        },
    ),
    "no engine": ("base_unchecked", "Dockerfile", {"Dockerfile": PYTHON}),
    "a name that is no image's": ("base_missing", "Dockerfile:1", {"Dockerfile": "FROM Python:3\n"}),
    "no tag": ("base_not_pinned", "Dockerfile:1", {"Dockerfile": "FROM python\n"}),
    "latest": ("base_not_pinned", "Dockerfile:1", {"Dockerfile": "FROM reg.example:5000/a/b:latest\n"}),
    "ADD of a URL": ("add_without_checksum", "Dockerfile:2", {"Dockerfile": PYTHON + "ADD https://a.example/b /\n"}),
    "an ARG above FROM": (
        "variable_undeclared",
        "Dockerfile:3",
        {"Dockerfile": "ARG VERSION=1\nFROM python:3\nRUN echo $VERSION > /v\n"},
    ),
    "a platform's argument": (
        "variable_undeclared",
        "Dockerfile:2",
        {"Dockerfile": PYTHON + "RUN echo ${TARGETARCH}\n"},
    ),
    "a variable of nobody": ("variable_undeclared", "Dockerfile:2", {"Dockerfile": "FROM scratch\nENV A=$NOBODY\n"}),
    "an argument of no use": ("arg_unused", "Dockerfile:3", {"Dockerfile": PYTHON + "RUN true\nARG NOTHING\n"}),
    "an argument above FROM of no use": ("arg_unused", "Dockerfile:2", {"Dockerfile": "\nARG NOTHING=1\nFROM a:1\n"}),
    "an argument that nobody declares": (
        "arg_unknown",
        "compose.yaml:6",
        {
            "Dockerfile": PYTHON,
            "compose.yaml": "services:\n  a:\n    build:\n      context: .\n\n      args:\n        NO: x\n",
        },
    ),
    "a relative folder": ("workdir_relative", "Dockerfile:2", {"Dockerfile": PYTHON + "WORKDIR app\n"}),
    "two CMDs": ("several_commands", "Dockerfile:2", {"Dockerfile": PYTHON + 'CMD ["a"]\nCMD ["b"]\n'}),
    "a CMD in shell form": ("command_in_shell_form", "Dockerfile:2", {"Dockerfile": PYTHON + "CMD python main.py\n"}),
    "a CMD that is no JSON": ("command_in_shell_form", "Dockerfile:2", {"Dockerfile": PYTHON + "CMD ['a', 'b']\n"}),
    "a server without a port": (
        "port_not_exposed",
        "Dockerfile:2",
        {"Dockerfile": 'FROM scratch\nCMD ["uvicorn", "main:app"]\n'},
    ),
    "no health check": ("no_healthcheck", "Dockerfile:1", {"Dockerfile": PYTHON + "EXPOSE 80\n"}),
    "root": ("runs_as_root", "Dockerfile:1", {"Dockerfile": PYTHON}),
    "root by name": ("runs_as_root", "Dockerfile:2", {"Dockerfile": PYTHON + "USER root:root\n"}),
    "a key in ENV": ("secret_value", "Dockerfile:2", {"Dockerfile": PYTHON + f"ENV AWS={AWS}\n"}),
    "a key in a target that is copied from": (
        "secret_name",
        "Dockerfile:2",
        {"Dockerfile": f"FROM a:1 AS b\nENV AWS={AWS}\nFROM a:1\nCOPY --from=b /dist /\n"},
    ),
    "a password in a URL": (
        "secret_value",
        "Dockerfile:2",
        {"Dockerfile": PYTHON + "ENV U=postgres://a:hunter2@db/x\n"},
    ),
    "a secret's name in ENV": ("secret_name", "Dockerfile:2", {"Dockerfile": PYTHON + "ENV DB_PASSWORD=hunter2\n"}),
    "a secret's name in ARG": ("secret_name", "Dockerfile:2", {"Dockerfile": PYTHON + "ARG NPM_TOKEN\n"}),
    "a secret's name above FROM": ("secret_name", "Dockerfile:1", {"Dockerfile": "ARG API_KEY\nFROM python:3\n"}),
    "an ARG that becomes ENV": ("secret_name", "Dockerfile:3", {"Dockerfile": PYTHON + "ARG X\nENV API_KEY=$X\n"}),
    "chown -R after COPY": (
        "layer_doubled",
        "Dockerfile:3",
        {"Dockerfile": PYTHON + "COPY app /srv/app\nRUN useradd me && chown -R me:me /srv\n", **APP},
    ),
    "chmod --recursive of the working folder": (
        "layer_doubled",
        "Dockerfile:4",
        {"Dockerfile": PYTHON + "WORKDIR /srv\nCOPY app .\nRUN chmod --recursive 755 .\n", **APP},
    ),
    "everything before pip": (
        "copy_before_install",
        "Dockerfile:2",
        {"Dockerfile": PYTHON + "COPY . .\nRUN pip install -r requirements.txt\n", **APP},
    ),
    "everything before npm, in a folder": (
        "copy_before_install",
        "Dockerfile:2",
        {"Dockerfile": "FROM node:18\nCOPY web/ /w/\nRUN cd /w && npm ci\n", "web/package.json": "{}", "web/a.js": "x"},
    ),
    "torch": (
        "gpu_packages",
        "requirements.txt:2",
        {
            "Dockerfile": PYTHON + "COPY requirements.txt .\nRUN pip install -r requirements.txt\n",
            "requirements.txt": "a\ntorch==2.1\n",
        },
    ),
    "what brings torch": (
        "gpu_packages",
        "Dockerfile:2",
        {"Dockerfile": PYTHON + "RUN pip install sentence-transformers\n"},
    ),
    "NVIDIA's packages": (
        "gpu_packages",
        "Dockerfile:2",
        {"Dockerfile": PYTHON + "RUN pip install nvidia-cublas-cu12\n"},
    ),
    "CUDA from Debian": (
        "gpu_packages",
        "Dockerfile:2",
        {"Dockerfile": PYTHON + "RUN apt-get install nvidia-cuda-toolkit\n"},
    ),
    "update alone": ("apt_update_alone", "Dockerfile:2", {"Dockerfile": PYTHON + "RUN apt-get update\n"}),
    "recommended packages": ("apt_recommends", "Dockerfile:2", {"Dockerfile": PYTHON + "RUN apt-get install -y git\n"}),
    "package lists": (
        "apt_lists",
        "Dockerfile:2",
        {"Dockerfile": PYTHON + "RUN apt-get update && apt-get install git\n"},
    ),
    "pip's downloads": ("pip_cache", "Dockerfile:2", {"Dockerfile": PYTHON + "RUN pip install flask\n"}),
    "curl into a shell": (
        "pipe_to_shell",
        "Dockerfile:2",
        {"Dockerfile": PYTHON + "RUN curl -fsSL https://a.example/i.sh \\\n  | sudo bash -s --\n"},
    ),
    "a shell of what curl gets": (
        "pipe_to_shell",
        "Dockerfile:2",
        {"Dockerfile": PYTHON + 'RUN sh -c "$(curl -s a.example)"\n'},
    ),
    "ballast": ("context_ballast", ".dockerignore", {"Dockerfile": PYTHON + "COPY . .\n", ".git/x": "x" * 2_000_000}),
    "a key that COPY takes in": (
        "secret_in_image",
        "deploy/key.pem",
        {"Dockerfile": PYTHON + "COPY . .\n", "deploy/key.pem": KEY},
    ),
    "passwords that COPY takes in": (
        "secret_in_image",
        ".env",
        {"Dockerfile": PYTHON + "COPY . .\n", ".env": "PORT=1\nSECRET_KEY=8f2a\n"},
    ),
    "npm's token": (
        "secret_in_image",
        ".npmrc",
        {"Dockerfile": PYTHON + "COPY .npmrc /\n", ".npmrc": "//r.example/:_authToken=abc123\n"},
    ),
    "AWS in code": ("secret_in_image", "a.py", {"Dockerfile": PYTHON + "COPY a.py /\n", "a.py": f"KEY = '{AWS}'\n"}),
    "a key that comes with another target's folder": (
        "secret_in_image",
        "conf/id_rsa",
        {
            "Dockerfile": "FROM node:18 AS build\nWORKDIR /app\nCOPY . .\nFROM build AS more\nRUN x\n"
            "FROM nginx:1\nCOPY --from=more /app/conf /w\n",
            "conf/id_rsa": "x",
        },
    ),
    "a key of which nobody knows where it lies": (
        "secret_in_image",
        "id_rsa",
        {
            "Dockerfile": "FROM node:18 AS build\nCOPY . .\nFROM nginx:1\nCOPY --from=build /app/dist /w\n",
            "id_rsa": "x",
        },
    ),
    "a key that stays in another target": (
        "secret_in_context",
        "id_rsa",
        {
            "Dockerfile": "FROM node:18 AS build\nCOPY . /app\nFROM nginx:1\nCOPY --from=build /app/dist /w\n",
            "id_rsa": "x",
        },
    ),
    "a key that is only sent": (
        "secret_in_context",
        "id_rsa",
        {"Dockerfile": PYTHON + "COPY app /\n", "id_rsa": "x", **APP},
    ),
    "settings without secrets": (
        "env_file_in_image",
        ".env",
        {"Dockerfile": PYTHON + "COPY . .\n", ".env": "PORT=8000\n"},
    ),
    "two versions": (
        "requirements_conflict",
        "requirements.txt:3",
        {"Dockerfile": PYTHON, "requirements.txt": "requests==2.31.0\nflask\nRequests==2.25.0\n"},
    ),
    "a version and a range, in an include": (
        "requirements_conflict",
        "more/base.txt:1",
        {"Dockerfile": PYTHON, "requirements.txt": "my_pkg>=2\n-r more/base.txt\n", "more/base.txt": "my-pkg~=1.4\n"},
    ),
    "a constraint": (
        "requirements_conflict",
        "limits.txt:1",
        {"Dockerfile": PYTHON, "requirements.txt": "numpy==2.0\n-c limits.txt\n", "limits.txt": "numpy<2\n"},
    ),
    "two files in one command": (
        "requirements_conflict",
        "requirements-b.txt:1",
        {
            "Dockerfile": PYTHON + "COPY *.txt ./\nRUN pip install -r requirements-a.txt -r requirements-b.txt\n",
            "requirements-a.txt": "a==1\n",
            "requirements-b.txt": "a==2\n",
        },
    ),
    "a line that is none": (
        "requirements_unreadable",
        "requirements.txt:1",
        {"Dockerfile": PYTHON, "requirements.txt": "a = 1\n"},
    ),
    "an include that is not there": (
        "requirements_missing",
        "requirements.txt:1",
        {"Dockerfile": PYTHON, "requirements.txt": "-r no.txt\n"},
    ),
    "asked for twice": (
        "requirements_duplicate",
        "requirements.txt:2",
        {"Dockerfile": PYTHON, "requirements.txt": "a>1\na<3\n"},
    ),
    "a compose file that is no YAML": ("compose_invalid", "compose.yaml:3", {"compose.yaml": "services:\n  a: [\n"}),
    "a service of nothing": (
        "compose_no_image",
        "compose.yaml:2",
        {"compose.yaml": "services:\n  a:\n    tty: true\n"},
    ),
    "a port twice": (
        "compose_port_conflict",
        "compose.yaml:7",
        {
            "compose.yaml": "services:\n  a:\n    image: x:1\n    ports: ['8000:80']\n"
            "  b:\n    image: x:1\n    ports: ['127.0.0.1:8000:81/tcp']\n"
        },
    ),
    "a folder that is not there": (
        "compose_path_missing",
        "compose.yaml:3",
        {"compose.yaml": "services:\n  a:\n    build: ./no\n"},
    ),
    "an environment file that is not there": (
        "compose_path_missing",
        "compose.yaml:5",
        {"compose.yaml": "services:\n  a:\n    image: x:1\n    env_file:\n      - .env.prod\n"},
    ),
    "a service that nobody knows": (
        "compose_unknown_service",
        "compose.yaml:4",
        {"compose.yaml": "services:\n  a:\n    image: x:1\n    depends_on: [db]\n"},
    ),
    "a password in a compose file": (
        "compose_secret",
        "compose.yaml:5",
        {"compose.yaml": "services:\n  a:\n    image: x:1\n    environment:\n      DB_PASSWORD: hunter2\n"},
    ),
    "a finding in a service's folder": (
        "several_commands",
        "web/Dockerfile:2",
        {"compose.yaml": "services:\n  a:\n    build: web\n", "web/Dockerfile": PYTHON + 'CMD ["a"]\nCMD ["b"]\n'},
    ),
    "a key in a service's folder": (
        "secret_in_image",
        "web/id_rsa",
        {
            "compose.yaml": "services:\n  a:\n    build: web\n",
            "web/Dockerfile": PYTHON + "COPY . .\n",
            "web/id_rsa": "x",
        },
    ),
}
