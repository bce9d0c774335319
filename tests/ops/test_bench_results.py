"""A benchmark replaces its own section of RESULTS.md and nobody else's."""

from pathlib import Path

from ops.bench.results import table, with_section, write_section


def test_a_new_section_goes_to_the_end_and_a_known_one_is_replaced_in_place() -> None:
    first = with_section("# Measurements\n", "The log", "slow")
    both = with_section(first, "The gateway", "fine")
    assert both == "# Measurements\n\n## The log\n\nslow\n\n## The gateway\n\nfine\n"
    assert with_section(both, "The log", "fast") == "# Measurements\n\n## The log\n\nfast\n\n## The gateway\n\nfine\n"
    assert with_section(both, "The gateway", "better").endswith("slow\n\n## The gateway\n\nbetter\n")


def test_the_first_section_begins_the_file(tmp_path: Path) -> None:
    file = tmp_path / "RESULTS.md"
    write_section("The log", table(("what", "measured"), [("append", "1/s")]), file)
    assert file.read_text().endswith("## The log\n\n| what | measured |\n| --- | --- |\n| append | 1/s |\n")
    assert file.read_text().startswith("# ")
