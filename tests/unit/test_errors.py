"""Messages that name several problems."""

from headhunt_svc.errors import list_problems


def test_the_first_problems_are_listed_and_the_others_counted() -> None:
    names = [f"v{i}" for i in range(8)]
    assert list_problems(names[:1]) == "v0"
    assert list_problems(names[:5]) == "v0; v1; v2; v3; v4"
    assert list_problems(names) == "v0; v1; v2; v3; v4; and 3 more"
