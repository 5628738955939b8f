"""What a proof says in one line."""

from dockwright.stages.proof import Proof

COMMIT = "9821904c992c1134a9fd42d0e74033f8ce87f176"


def _summary(built_revision: str | None, files: int = 2) -> str:
    return Proof(
        ok=True,
        revision=COMMIT,
        built_revision=built_revision,
        digest_ok=True,
        files_checked=files,
        files_differ=[],
        files_unverifiable=[],
        build_info_ok=None,
    ).summary


def test_files_match_the_commit() -> None:
    assert _summary(COMMIT) == "2 of 2 files match commit 9821904c992c"


def test_files_that_were_changed_since_the_commit_are_not_said_to_be_of_it() -> None:
    assert _summary(f"{COMMIT}-dirty") == "2 of 2 files match commit 9821904c992c with changes that were not committed"


def test_commit_that_changed_nothing_of_the_image_is_a_match() -> None:
    assert _summary("e8f2dfb" + "0" * 33) == "2 of 2 files match commit 9821904c992c"


def test_no_file_is_not_said_to_match() -> None:
    assert _summary(COMMIT, files=0) == "there is no file to compare"
