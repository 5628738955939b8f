"""What an argument means, and that a source leads nowhere out of itself."""

from pathlib import Path

import pytest

from dockwright.domain.source import FolderSource, GitSource, TemplateSource, source_from_json, source_to_json
from dockwright.errors import NoDockerfile, PathNotFound, SourceTooLarge, UnsafeSource, UsageError
from dockwright.sources import bounds
from dockwright.sources.detect import detect, is_path, name_of, source_key


@pytest.mark.parametrize(
    ("text", "url", "ref", "subdir"),
    [
        ("https://example.org/a/b.git", "https://example.org/a/b.git", None, None),
        ("https://example.org/a/b.git#v1.2", "https://example.org/a/b.git", "v1.2", None),
        ("https://example.org/a/b#main:web", "https://example.org/a/b", "main", "web"),
        ("https://example.org/a/b#:web", "https://example.org/a/b", None, "web"),
        ("git@example.org:a/b.git#v1", "git@example.org:a/b.git", "v1", None),
        ("ssh://git@example.org/a", "ssh://git@example.org/a", None, None),
        ("/srv/repository#v1", "/srv/repository", "v1", None),
    ],
)
def test_git(text: str, url: str, ref: str | None, subdir: str | None) -> None:
    assert detect(text) == GitSource(url=url, ref=ref, subdir=subdir)


def test_a_folder_is_its_real_path(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "link").symlink_to("app")
    assert detect(str(tmp_path / "link")) == FolderSource(path=str(tmp_path / "app"))


def test_a_folder_with_a_hash_in_its_name_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "c#").mkdir()
    assert detect(str(tmp_path / "c#")) == FolderSource(path=str(tmp_path / "c#"))


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PathNotFound):
        detect(str(tmp_path / "none"))
    with pytest.raises(NoDockerfile):
        detect(str(tmp_path / "file"))


def test_names_are_no_paths() -> None:
    assert [is_path(text) for text in (".", "~/a", "a/b", "git@host:a", "Support", "my#bot")] == [
        *(True, True, True, True),
        *(False, False),
    ]


def test_the_same_repository_is_the_same_project_at_any_ref() -> None:
    first, second = (GitSource(url="https://example.org/a/b.git", ref=ref) for ref in ("v1", "v2"))
    assert source_key(first) == source_key(second)
    assert source_key(GitSource(url=first.url, subdir="web")) != source_key(first)
    assert name_of(first) == "b"


@pytest.mark.parametrize(
    "source",
    [
        FolderSource(path="/srv/app"),
        GitSource(url="https://example.org/a", ref="v1"),
        TemplateSource(template="chatbot", variables={"a": [1]}),
    ],
)
def test_sources_are_read_as_they_were_written(source: FolderSource | GitSource | TemplateSource) -> None:
    assert source_from_json(source_to_json(source)) == source


@pytest.mark.parametrize("document", [{"kind": "ftp"}, {}, {"kind": "folder"}, {"kind": "git", "uri": "x"}])
def test_a_wrong_source_is_refused(document: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        source_from_json(document)


@pytest.mark.parametrize("target", ["/etc/passwd", "..", "../x", "a/../../../x"])
def test_links_out_of_the_source_are_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to(f"../{target}" if not target.startswith("/") else target)
    with pytest.raises(UnsafeSource, match="folder/link"):
        bounds.check_links(tmp_path, ["folder/link"])


@pytest.mark.parametrize("target", ["x", "../x", "not/there", "../folder/./x"])
def test_links_inside_are_taken(tmp_path: Path, target: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to(target)
    bounds.check_links(tmp_path, ["folder/link"])


def test_a_subfolder_lies_inside(tmp_path: Path) -> None:
    (tmp_path / "source" / "web").mkdir(parents=True)
    (tmp_path / "source" / "out").symlink_to(tmp_path)
    assert bounds.inside(tmp_path / "source", "web") == tmp_path / "source" / "web"
    for folder in ("..", "out", "none", "/etc"):
        with pytest.raises(UnsafeSource):
            bounds.inside(tmp_path / "source", folder)


def test_a_source_has_bounds() -> None:
    bounds.check_size(bounds.MAX_FILES, bounds.MAX_BYTES, "It")
    with pytest.raises(SourceTooLarge):
        bounds.check_size(bounds.MAX_FILES + 1, 0, "It")
    with pytest.raises(SourceTooLarge):
        bounds.check_size(1, bounds.MAX_BYTES + 1, "It")
