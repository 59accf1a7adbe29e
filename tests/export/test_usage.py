"""What `--help` prints."""

from absl import flags

from export import usage


def test_one_style_without_a_word_that_is_broken():
    values = flags.FlagValues()
    names = [f"a_network_of_a_long_name_{number}" for number in range(9)]
    flags.DEFINE_enum("model", None, names, "The network.", values)
    flags.DEFINE_integer("rounds", 30, "Turns.", 1, 2**31 - 1, values)
    flags.DEFINE_bool("fast", False, "Less exact.", values)
    flags.DEFINE_string("out", None, "Where to. Default: here.", values)
    group = [values[name] for name in ("rounds", "model", "fast", "out")]
    text = usage.usage("Do it.\n\npython -m do\n", {"flags": group})
    assert text.startswith("Do it.\n\npython -m do\n\nflags:\n  --[no]fast: Less exact.\n  --model")
    assert "  --rounds: Turns. (a whole number from 1). Default: 30." in text
    assert text.count("Default") == 2
    assert max(map(len, text.splitlines())) <= 80
    assert set(names) <= set(text.replace(",", " ").replace(".", " ").split())
    assert text.splitlines()[-1].startswith("--flagfile=FILE")


def test_asked_for():
    assert usage.asked_for(["x", "-h"])
    assert not usage.asked_for(["--helper"])
