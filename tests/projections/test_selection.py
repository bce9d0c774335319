"""Who asks for types that no event has is told so, with what is near."""

import pytest

from projections.selection import TYPES, no_such_type


@pytest.mark.parametrize(
    ("patterns", "wrong", "hint"),
    [
        (("Replica*", "Replca"), "Replca", "did you mean Replica"),
        (("Promotion",), "Promotion", "did you mean PromotionCa"),
        (("Zz*",), "Zz*", "nothing matches"),
        (("PromotionCompletd",), "PromotionCompletd", "did you mean PromotionCompleted"),
    ],
)
def test_a_type_that_never_comes_is_named_with_what_is_near(patterns: tuple[str, ...], wrong: str, hint: str) -> None:
    found = no_such_type(patterns)
    assert found is not None and found[0] == wrong and found[1].startswith(hint)


def test_every_type_and_every_pattern_that_means_one_is_known() -> None:
    assert no_such_type(()) is None
    assert no_such_type((*TYPES, "*", "Replica?eady")) is None
