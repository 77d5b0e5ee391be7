"""An Island of the mass: enrols, beats and reports as a real one does, says the fast Cargo's words, and spends little.

    python -m tests.soak.mass_island --coordinator HOST:PORT --code PAIRING_CODE --name NAME --slots 400 --rate 4

It goes on with answers that others began. Nobody strikes it: it has no journal and ends without a word.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

import uvloop
from archipelag_contracts.pb.archipelag.v1 import common_pb2 as common
from archipelag_contracts.pb.archipelag.v1 import job_pb2 as job
from archipelag_contracts.signing import SigningKey, chain
from archipelag_island.adapters.enrolment import GrpcEnrolment
from archipelag_island.testing.echo_engine.words import Script, script

from benchmarks.synthetic_island import Answer, SyntheticIsland
from tests.chaos.network import FAST, NOTHING_SPECIAL


@dataclass
class Words(Answer):
    """An answer in the words of its seed."""

    script: Script | None = None

    def item(self, position: int) -> tuple[str, int]:
        assert self.script is not None
        return self.script.item(position)


class MassIsland(SyntheticIsland):
    def _answer(self, asked: job.Assignment) -> Words:
        plan = script(asked.input, asked.output_items_max)
        words = Words(**vars(super()._answer(asked)), script=plan)
        first = asked.first_position
        return replace(words, first=first, next=first, items=plan.items)

    def _say_next(self, answer: Answer) -> None:
        if answer.next < answer.items:
            super()._say_next(answer)
        else:
            # All of it had been said before, but for the last word.
            self.saying.pop((answer.job_id, answer.epoch), None)
            self._end(answer)

    def _chunk(self, answer: Answer) -> bytes:
        assert isinstance(answer, Words) and answer.script is not None
        text, token = answer.item(answer.next)
        chunk = job.Chunk(first=answer.next, texts=[text], tokens=[token])
        if answer.next == answer.first:
            chunk.prompt_tokens = answer.script.prompt_tokens
        return chunk.SerializeToString()

    def _said(self, answer: Answer) -> job.Report:
        assert isinstance(answer, Words) and answer.script is not None
        items = [answer.item(position) for position in range(answer.first, answer.items)]
        report = super()._said(answer)
        report.finish_reason = answer.script.finish_reason
        report.first_position = answer.first
        report.usage.CopyFrom(
            common.Usage(prompt_tokens=answer.script.prompt_tokens, output_items=len(items))
        )
        report.output_chain = chain(items)
        report.texts[:] = [text for text, _ in items]
        report.tokens[:] = [token for _, token in items]
        return report


async def run(options: argparse.Namespace) -> None:
    key = SigningKey.generate()
    enrolment = GrpcEnrolment(options.coordinator, key)
    standing = await enrolment.enrol(options.code, options.name, NOTHING_SPECIAL)
    await MassIsland(key, standing, options.rate, options.slots, FAST).run()


def main() -> None:
    parser = argparse.ArgumentParser("mass_island", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--coordinator", required=True, help="host:port of enrolment")
    parser.add_argument("--code", required=True, help="pairing code")
    parser.add_argument("--name", required=True)
    parser.add_argument("--rate", type=float, required=True, help="items a second of each answer")
    parser.add_argument("--slots", type=int, required=True)
    uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
