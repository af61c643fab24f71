from __future__ import annotations

import pytest

from controlplane import command


@pytest.mark.parametrize(("argv", "words"), [
    (["--listen", "nowhere"], "--listen: 'nowhere' is not HOST:PORT"),
    (["--trace-max-size", "big"], "--trace-max-size: 'big' is not a size"),
    (["--trace-max-size", "1KiB"], "--trace-max-size: 1024 bytes is less than 4MiB"),
    (["--trace-max-age", "soon"], "--trace-max-age"),
    (["--ready-fd", "x"], "--ready-fd: 'x' is not a file descriptor"),
    (["--ready-fd", "-1"], "--ready-fd: '-1' is not a file descriptor"),
    (["--data-dir", ""], "--data-dir: '' is not a directory"),
    (["--listen"], "--listen: expected one argument"),
    (["--unknown=5"], "--unknown: no such flag"),
    (["--list", "127.0.0.1:0"], "--list: no such flag"),
    (["extra"], "extra: unexpected argument"),
])
def test_a_wrong_flag_is_one_clear_message_and_exit_code_2(argv, words, capsys):
    assert command.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"mesh controlplane: {words}")
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_help_shows_examples_and_exits_0(capsys):
    assert command.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert "examples:" in out
    for flag in ("--listen", "--data-dir", "--trace-max-size", "--trace-max-age", "--ready-fd"):
        assert flag in out


def test_flags_become_settings(tmp_path):
    config = command.parse(["--listen", "[::1]:7", "--data-dir", str(tmp_path), "--trace-max-size", "8MiB",
                            "--trace-max-age", "2h", "--ready-fd", "5"])
    assert (config.host, config.port, config.data_dir) == ("::1", 7, tmp_path)
    assert (config.trace_max_size, config.trace_max_age, config.ready_fd) == (8 << 20, 7200.0, 5)
