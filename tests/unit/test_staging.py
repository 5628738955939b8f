"""The name under which a context is sent, and what is remembered of it."""

from pathlib import Path

from dockwright.stages.staging import Staging


def _staging(home: Path, project: str = "app") -> Staging:
    return Staging(home, "local", project, "app")


def test_two_projects_never_share_a_name(tmp_path: Path) -> None:
    first, second = _staging(tmp_path, "one").link(tmp_path), _staging(tmp_path, "two").link(tmp_path)
    assert first.name != second.name
    assert first.resolve() == second.resolve() == tmp_path


def test_the_name_stays_until_it_is_renewed(tmp_path: Path) -> None:
    first = _staging(tmp_path).link(tmp_path)
    assert _staging(tmp_path).link(tmp_path) == first
    staging = _staging(tmp_path)
    staging.renew_name()
    assert staging.link(tmp_path).name != first.name


def test_two_state_folders_never_share_a_name(tmp_path: Path) -> None:
    names = {_staging(tmp_path / home).link(tmp_path).name for home in ("a", "b")}
    assert len(names) == 2


def test_the_link_follows_the_source(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        assert _staging(tmp_path).link(tmp_path / folder).resolve() == tmp_path / folder


def test_a_damaged_memory_is_as_good_as_none(tmp_path: Path) -> None:
    staging = _staging(tmp_path)
    staging.remember(question="q")
    assert _staging(tmp_path).memory["question"] == "q"
    (staging.index_file.parent / "memory.json").write_text('{"format": 1, "que')
    assert _staging(tmp_path).memory == {}


def test_the_first_date_of_a_content_stays(tmp_path: Path) -> None:
    assert _staging(tmp_path).first_seen("a", "monday") == "monday"
    assert _staging(tmp_path).first_seen("b", "tuesday") == "tuesday"
    assert _staging(tmp_path).first_seen("a", "friday") == "monday"
    for number in range(60):
        _staging(tmp_path).first_seen(str(number), "sunday")
    assert len(_staging(tmp_path).memory["first_seen"]) == 50


def test_a_build_beside_does_not_bring_the_old_name_back(tmp_path: Path) -> None:
    one, other = _staging(tmp_path), _staging(tmp_path)
    one.link(tmp_path)
    other.renew_name()
    renewed = _staging(tmp_path).link(tmp_path)
    one.remember(question="q")
    assert _staging(tmp_path).link(tmp_path) == renewed


def test_two_clients_never_share_a_name(tmp_path: Path) -> None:
    names = {Staging(tmp_path, *names, "app").link(tmp_path).name for names in (("a-b", "c"), ("a", "b-c"))}
    assert len(names) == 2


def test_two_builds_of_a_project_at_once_each_send_their_own_tree(tmp_path: Path) -> None:
    """The link of the first still leads to its tree when the second has planned, and BuildKit knows them apart."""
    links = []
    for build in ("1", "2"):
        root, folder = tmp_path / build / "checkout", tmp_path / build / "context"
        root.mkdir(parents=True)
        folder.mkdir()
        links.append((root, _staging(tmp_path).link_own(root, build * 64, folder)))
    assert all(link.resolve() == root for root, link in links)
    assert links[0][1].name != links[1][1].name
