"""`archipelag chat`: one question, or a conversation that remembers itself."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Final

from archipelag import ArchipelagError, Client
from archipelag.cli import asking, printing

PROMPT_CHARACTERS_MAX: Final = 256 * 1024
MESSAGES_MAX: Final = 100
"""Of a conversation that are sent along; the network takes 128."""
HELP: Final = """\
/new            forget what was said
/system TEXT    instructions for the model, from now on
/model NAME     another model
/save FILE      the conversation as JSON; `--session FILE` goes on with it
/help           this
/quit           or Ctrl-D; Ctrl-C stops an answer
"""


class Conversation:
    """What was said, and the file that it is kept in, if any."""

    def __init__(self, system: str | None, file: Path | None) -> None:
        self.system = system
        self.said: list[dict[str, str]] = []
        self._file = file
        if file is not None and file.exists():
            self._read(file)

    def _read(self, file: Path) -> None:
        """Raises ValueError."""
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            said = [{"role": one["role"], "content": one["content"]} for one in kept["messages"]]
            if not all(isinstance(text, str) for one in said for text in one.values()):
                raise TypeError("not text")
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{file} is no conversation: {error}") from None
        self.system = self.system or kept.get("system")
        self.said = said

    def asking(self, prompt: str) -> list[dict[str, str]]:
        """As it is sent: the newest messages, beginning with one of the user's."""
        recent = [*self.said, {"role": "user", "content": prompt}][-MESSAGES_MAX:]
        while recent[0]["role"] != "user":
            recent = recent[1:]
        return recent

    def answered(self, prompt: str, answer: str) -> None:
        self.said += [
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": answer},
        ]
        if self._file is not None:
            self.save(self._file)

    def save(self, file: Path) -> None:
        part = file.with_name(f".{file.name}.part")
        part.write_text(
            json.dumps({"system": self.system, "messages": self.said}, ensure_ascii=False, indent=1)
            + "\n",
            encoding="utf-8",
        )
        part.replace(file)


def chat(client: Client, arguments: argparse.Namespace) -> int:
    file = Path(arguments.session) if arguments.session else None
    conversation = Conversation(arguments.system, file)
    prompt = arguments.prompt
    if prompt is None and sys.stdin.isatty() and arguments.format != "json":
        return _interactive(client, arguments, conversation)
    if prompt is None or prompt == "-":
        prompt = sys.stdin.read(PROMPT_CHARACTERS_MAX).strip()
    if not prompt.strip():
        raise ValueError("nothing was asked: give a question, or send one on standard input")
    _ask(client, arguments, conversation, prompt)
    return 0


def _ask(
    client: Client, arguments: argparse.Namespace, conversation: Conversation, prompt: str
) -> None:
    asked = time.perf_counter()
    stream = client.chat_stream(
        conversation.asking(prompt),
        arguments.model,
        system=conversation.system,
        max_tokens=arguments.max_tokens,
        temperature=arguments.temperature,
        seed=arguments.seed,
    )
    as_json = arguments.format == "json"
    told = asking.tell(client, stream, asked, aloud=not as_json)
    conversation.answered(prompt, told.text)
    if as_json:
        answer = {
            "text": told.text,
            "job_id": stream.job_id,
            "island": stream.island,
            "finish_reason": stream.finish_reason,
            "usage": stream.usage,
        }
        printing.as_json(answer)
        return
    print()
    if arguments.verbose:
        first = "none" if told.first_s is None else f"{told.first_s:.3f} s"
        used = stream.usage.completion_tokens if stream.usage else 0
        shown = f"{stream.island}  first token {first}  {used} tokens"
        print(printing.styled(printing.clean(shown), "2", sys.stderr), file=sys.stderr)


def _interactive(client: Client, arguments: argparse.Namespace, conversation: Conversation) -> int:
    history = _history()
    print(printing.dim("Ask. /help tells what else there is; Ctrl-D ends."), file=sys.stderr)
    try:
        while True:
            try:
                line = input("> ").strip()
            except EOFError:
                print()
                return 0
            except KeyboardInterrupt:
                print()
                continue
            if line.startswith("/"):
                if not _command(arguments, conversation, line):
                    return 0
            elif line:
                _answer(client, arguments, conversation, line)
    finally:
        _keep_history(history)


def _answer(
    client: Client, arguments: argparse.Namespace, conversation: Conversation, line: str
) -> None:
    """What goes wrong with one answer does not end the conversation."""
    try:
        _ask(client, arguments, conversation, line)
    except KeyboardInterrupt:
        print(printing.dim("stopped"), file=sys.stderr)
    except ArchipelagError as error:
        print(f"archipelag: {printing.clean(str(error))}", file=sys.stderr)


def _command(arguments: argparse.Namespace, conversation: Conversation, line: str) -> bool:
    """Whether the conversation goes on."""
    name, _, rest = line.partition(" ")
    rest = rest.strip()
    match name:
        case "/quit" | "/exit":
            return False
        case "/new":
            conversation.said.clear()
        case "/system":
            conversation.system = rest or None
        case "/model" if rest:
            arguments.model = rest
        case "/save" if rest:
            try:
                conversation.save(Path(rest))
            except OSError as error:
                print(f"archipelag: {error}", file=sys.stderr)
        case _:
            print(HELP, end="", file=sys.stderr)
    return True


def _history() -> Path | None:
    """Where questions typed before are kept for the arrow keys; None where this Python cannot."""
    try:
        import readline
    except ImportError:
        return None
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    file = Path(base) / "archipelag" / "chat_history"
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if file.exists():
            readline.read_history_file(file)
    except OSError:
        return None
    readline.set_history_length(1000)
    return file


def _keep_history(file: Path | None) -> None:
    if file is None:
        return
    import readline

    try:
        file.touch(mode=0o600)
        readline.write_history_file(file)
    except OSError:
        return
