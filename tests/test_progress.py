"""Progress in a log: a line of its own per tenth, with a name, and nothing that moves a cursor."""

import pytest

from ptychodose.study import progress


def said(capsys):
    out, err = capsys.readouterr()
    assert out == "" and "\r" not in err and "\x1b" not in err and (err == "" or err.endswith("\n"))
    return err.splitlines()


@pytest.mark.parametrize(("total", "step"), [(1000, 1), (64, 1), (64, 16), (3, 1), (10**6, 7 * 10**4)])
def test_a_log_gets_a_line_per_tenth(capsys, total, step):
    with progress.bar(total, "train_dense", "pattern") as bar:
        for _ in range(0, total, step):
            bar.update(min(step, total - bar.n))
            bar.set_postfix(heldout="0.5")
    lines = said(capsys)
    assert len(lines) == min(10, -(-total // step)) and all(line.startswith("train_dense: ") for line in lines)
    assert "100%" in lines[-1] and "heldout=0.5" not in lines[0].split("[")[0]


def test_what_was_done_before_is_not_told_again(capsys):
    with progress.bar(100, "x", "step", done=55) as bar:
        bar.update(4)
        assert said(capsys) == []
        bar.update(1)
        assert len(said(capsys)) == 1
    assert said(capsys) == [], "a bar that ends before its total says so by its last line"


def test_other_lines_stand_between(capsys):
    with progress.bar(2, "x", "step") as bar:
        bar.update(1)
        bar.write("between")
        bar.update(1)
    out, err = capsys.readouterr()
    assert out == "between\n" and len(err.splitlines()) == 2


def test_nothing_to_do_says_nothing(capsys):
    with progress.bar(0, "x", "run") as bar:
        bar.update(0)
    assert said(capsys) == []
