"""The tree of errors: codes are unique, and a written error can be read again."""

from dockwright.errors import DockwrightError, StepFailed, by_code


def _all(cls: type[DockwrightError]) -> list[type[DockwrightError]]:
    return [cls, *(below for sub in cls.__subclasses__() for below in _all(sub))]


def test_codes_are_unique() -> None:
    codes = [cls.code for cls in _all(DockwrightError)]
    assert len(codes) == len(set(codes))


def test_exit_codes_are_those_of_the_contract() -> None:
    assert {cls.exit_code for cls in _all(DockwrightError)} == {1, 2, 3, 4, 130}


def test_a_written_error_is_read_again() -> None:
    error = StepFailed(
        "it failed", remedy="mend it", stage="build", step="[2/3] RUN x", step_exit_code=7, last_lines=["no"]
    )
    again = by_code(error.as_dict())
    assert isinstance(again, StepFailed)
    assert again.as_dict() == error.as_dict()


def test_an_unknown_code_is_kept() -> None:
    again = by_code({**DockwrightError("x", remedy="y").as_dict(), "code": "internal_error"})
    assert (again.code, again.exit_code) == ("internal_error", 1)
