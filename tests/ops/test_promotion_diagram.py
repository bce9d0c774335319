"""The picture in ops/docs/promotion.md is what the decider does."""

from pathlib import Path

from ops.promotion_diagram import BEGIN, END, FILE, arrows, main


def test_the_picture_is_up_to_date() -> None:
    assert main(["--check"]) == 0, "run `make diagram`"


def test_a_picture_that_lags_is_refused_and_drawn_anew(tmp_path: Path) -> None:
    copy = tmp_path / "promotion.md"
    copy.write_text(f"before\n{BEGIN}something else\n{END}\nafter\n")
    assert main(["--check"], copy) == 1
    assert main([], copy) == 0
    assert main(["--check"], copy) == 0
    assert copy.read_text().startswith("before\n") and copy.read_text().endswith("after\n")
    assert BEGIN in FILE.read_text()


def test_every_promotion_can_end_from_every_state() -> None:
    for before in ("RELEASING", "RAMPING_UP", "PAUSED", "RAMPING_DOWN"):
        reached = {after for state, after, _ in arrows() if state == before}
        assert "SUCCEEDED" in reached and reached & {"FAILED", "CANCELED"}
