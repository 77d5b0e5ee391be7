"""`archipelag completion`: what a shell needs to complete our commands, made from the commands themselves."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

SHELLS = ("bash", "zsh", "fish")

BASH = """\
# archipelag: completion for bash. Put into ~/.bashrc:  eval "$(archipelag completion bash)"
_archipelag() {
    local word path="" words=""
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case "$path $word" in
@STEPS@
        esac
    done
    case "$path" in
@WORDS@
    esac
    COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _archipelag archipelag
"""


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """To be evaluated by that shell."""
    tree = dict(_tree(parser, ""))
    if shell == "fish":
        return _fish(tree)
    written = _bash(tree)
    if shell == "zsh":
        # zsh runs bash's completions by its own module.
        head = "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"
        return head + written.replace("for bash", "for zsh").replace(".bashrc", ".zshrc").replace(
            "completion bash", "completion zsh"
        )
    return written


def run_with(parser: Callable[[], argparse.ArgumentParser]) -> Callable[..., int]:
    """The command, which needs no network."""

    def run(arguments: argparse.Namespace, _: object) -> int:
        print(script(arguments.shell, parser()), end="")
        return 0

    return run


def _tree(parser: argparse.ArgumentParser, path: str) -> Iterator[tuple[str, list[str]]]:
    """Each command by its path, and what may follow it: commands, options, choices."""
    words: list[str] = []
    inner: list[tuple[str, argparse.ArgumentParser]] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            inner += action.choices.items()
            words += action.choices
        elif action.option_strings:
            words += [one for one in action.option_strings if one.startswith("--")]
        elif action.choices:
            words += map(str, action.choices)
    yield path, words
    for name, one in inner:
        yield from _tree(one, f"{path} {name}")


def _bash(tree: dict[str, list[str]]) -> str:
    steps = [path for path in tree if path]
    cases = [f'            "{path}") path="{path}" ;;' for path in steps]
    words = [f'        "{path}") words="{" ".join(found)}" ;;' for path, found in tree.items()]
    return BASH.replace("@STEPS@", "\n".join(cases)).replace("@WORDS@", "\n".join(words))


def _fish(tree: dict[str, list[str]]) -> str:
    lines = [
        "# archipelag: completion for fish. Put into ~/.config/fish/completions/archipelag.fish",
        "complete -c archipelag -f",
    ]
    first = tree[""]
    for path, words in tree.items():
        steps = path.split()
        if not steps:
            when = f"not __fish_seen_subcommand_from {' '.join(w for w in first if w[0] != '-')}"
        else:
            when = "; and ".join(f"__fish_seen_subcommand_from {step}" for step in steps)
        for word in words:
            kind = f"-l {word[2:]}" if word.startswith("--") else f"-a {word}"
            lines.append(f"complete -c archipelag -n '{when}' {kind}")
    return "\n".join(lines) + "\n"
