import re
from pathlib import Path

import pytest

from dockwright.docker import host
from dockwright.docker.bases import substitute_for
from dockwright.docker.recipes import RECIPES, bootstrap_command, digest_of, import_command
from dockwright.docker.server_recipes import SERVER_RECIPES

ALL = [*RECIPES.values(), *SERVER_RECIPES.values()]

COMPANY = "-----BEGIN CERTIFICATE-----\nY29tcGFueQ==\n-----END CERTIFICATE-----"
PUBLIC = "-----BEGIN CERTIFICATE-----\ncHVibGlj\n-----END CERTIFICATE-----"


def test_the_whole_command_that_makes_a_base() -> None:
    command = bootstrap_command(
        RECIPES["node"],
        tar=Path("/w/base.tar"),
        sources=Path("/w/debian.sources"),
        apt_options=['Acquire::http::Proxy "http://proxy.example:3128";'],
    )
    assert command[:4] == ["mmdebstrap", "--mode=root", "--variant=minbase", "--include=nodejs,npm,ca-certificates"]
    assert '--aptopt=Acquire::http::Proxy "http://proxy.example:3128";' in command
    assert command[-3:] == ["bookworm", "/w/base.tar", "/w/debian.sources"]
    assert [word for word in command if "hook" in word] == [command[-4]]


def test_nothing_of_the_machine_is_in_the_shell_text() -> None:
    hooks = {
        bootstrap_command(recipe, tar=Path("/a b;c"), sources=Path("/$(x)"), apt_options=["'"])[-4].split("=", 1)[1]
        for recipe in RECIPES.values()
    }
    assert len(hooks) == 1
    assert "/a b;c" not in hooks.pop()


def test_the_image_says_what_it_stands_for() -> None:
    command = import_command(RECIPES["nginx"], Path("/w/base.tar"), "abc")
    assert command[:2] == ["docker", "import"]
    assert command[-2:] == ["/w/base.tar", "localhost/base/nginx:latest"]
    for change in (
        'LABEL dev.dockwright.managed="true"',
        'LABEL dev.dockwright.base="nginx"',
        'LABEL dev.dockwright.substitutes="nginx:*"',
        'LABEL dev.dockwright.recipe="abc"',
        'ENV SSL_CERT_FILE="/etc/ssl/certs/ca-certificates.crt"',
        "EXPOSE 80",
        "STOPSIGNAL SIGQUIT",
        'CMD ["nginx", "-g", "daemon off;"]',
    ):
        assert f"--change={change}" in command


@pytest.mark.parametrize("recipe", ALL, ids=lambda recipe: recipe.name)
def test_each_base_stands_for_the_official_image_of_its_name(recipe) -> None:
    patterns = {pattern: one.image for one in ALL for pattern in one.substitutes}
    assert substitute_for(f"docker.io/library/{recipe.name}:any", patterns) == recipe.image
    assert re.fullmatch(r"localhost/base/[a-z]+:[\w.-]+", recipe.image)


def test_a_base_is_another_when_its_recipe_or_the_machine_s_certificates_change() -> None:
    before = digest_of(RECIPES["python"], {"/bundle": "one"})
    assert before == digest_of(RECIPES["python"], {"/bundle": "one"})
    assert before != digest_of(RECIPES["python"], {"/bundle": "two"})
    assert before != digest_of(RECIPES["node"], {"/bundle": "one"})


def test_the_company_s_authorities_are_those_that_the_distribution_does_not_have() -> None:
    same_with_other_line_ends = PUBLIC.replace("\n", "\r\n")
    assert host.own_authorities(f"# a bundle\n{PUBLIC}\n{COMPANY}\n", [same_with_other_line_ends]) == [COMPANY]


LISTING = """\
Example Inc|https://apt.example.com/|bookworm|main
Debian|file:/srv/mirror/|bookworm|main
Debian|http://mirror.example/debian/|bookworm-updates|main
Debian|http://mirror.example/debian/|bookworm|contrib
Debian|http://mirror.example/debian/|bookworm|main
Debian|http://mirror.example/security/|bookworm-security|main
"""


def test_the_mirror_is_debian_s_own_and_remote() -> None:
    assert host.mirrors_in(LISTING) == ("http://mirror.example/debian/", "http://mirror.example/security/")


def test_before_the_first_update_the_release_tells() -> None:
    listing = "|http://apt.example.com/|nodistro|main\n|http://mirror.example/debian/|trixie|main\n"
    assert host.mirrors_in(listing) == ("http://mirror.example/debian/", None)


@pytest.mark.parametrize("listing", ["", "Ubuntu|http://mirror.example/ubuntu/|jammy|main\n", "no such command"])
def test_a_machine_without_debian_has_no_mirror(listing: str) -> None:
    assert host.mirrors_in(listing) is None


def test_pip_s_remote_indexes_are_carried_and_local_ones_are_not(tmp_path: Path) -> None:
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nextra-index-url = file:///srv/simple\n  https://pypi.example/simple\nfind-links = /srv\n"
    )
    environ = {"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(config), "PIP_INDEX_URL": "https://index.example/simple"}
    text = host.pip_config(environ, with_credentials=False)
    assert text is not None
    lines = text.splitlines()
    assert lines[0] == "[global]"
    assert "index-url = https://index.example/simple" in lines
    assert "extra-index-url = https://pypi.example/simple" in lines
    assert "find-links" not in text


def test_credentials_never_reach_an_image(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "PIP_INDEX_URL": "https://me:pass@index.example/simple"}
    assert "pass" not in (host.pip_config(environ, with_credentials=False) or "")
    assert "me:pass@index.example" in (host.pip_config(environ, with_credentials=True) or "")
    environ = {"HOME": str(tmp_path), "NPM_CONFIG_REGISTRY": "https://me:pass@npm.example/"}
    assert host.npm_config(environ) is None


def test_npm_s_own_registry_is_carried(tmp_path: Path) -> None:
    (tmp_path / ".npmrc").write_text("fund=false\nregistry=https://npm.example/\n")
    assert host.npm_config({"HOME": str(tmp_path)}) == "registry=https://npm.example/\n"
    local = {"HOME": str(tmp_path), "npm_config_registry": "http://127.0.0.1:4873/"}
    assert host.npm_config(local) is None
